new EventSource("/events").onmessage = (event) => {
  document.getElementById("progress").textContent = event.data;
};
