console.error("said by the page", 42);
fetch("/missing.json");
if (confirm("Go on?")) throw new Error("thrown by the page");
