(most) => {
    const findings = [];
    const tell = (what, elements) => {
        for (const element of elements.slice(0, most)) findings.push(`${what}: ${element.outerHTML.slice(0, 120)}`);
    };
    const all = (css) => [...document.querySelectorAll(css)];
    const shown = (element) => element.checkVisibility({ visibilityProperty: true, opacityProperty: true });

    if (!document.documentElement.lang) findings.push("the page does not say its language: <html lang=…>");
    if (!document.title.trim()) findings.push("the page has no title");
    if (!document.querySelector("meta[name=viewport]")) findings.push("the page has no <meta name=viewport>, so phones shrink it");
    for (const css of ["main", "h1"]) {
        const count = all(css).filter(shown).length;
        if (count !== 1) findings.push(`the page has ${count} <${css}>, not one`);
    }
    const headings = all("h1, h2, h3, h4, h5, h6").filter(shown);
    const level = (heading) => Number(heading.localName[1]);
    tell("a heading skips a level", headings.filter((one, at) => at > 0 && level(one) > level(headings[at - 1]) + 1));
    tell("an image has no alt", all("img:not([alt])"));
    const ids = all("[id]");
    tell("an id comes twice", ids.filter((one, at) => ids.findIndex((other) => other.id === one.id) < at));
    tell("a table has no header cells", all("table").filter((table) => shown(table) && !table.querySelector("th")));

    // Colours come in many notations; a canvas turns them all into red, green, blue and opacity.
    const brush = Object.assign(document.createElement("canvas"), { width: 1, height: 1 })
        .getContext("2d", { willReadFrequently: true });
    const painted = (colour) => {
        brush.clearRect(0, 0, 1, 1);
        brush.fillStyle = colour;
        brush.fillRect(0, 0, 1, 1);
        const [red, green, blue, opacity] = brush.getImageData(0, 0, 1, 1).data;
        return [red, green, blue, opacity / 255];
    };
    // A page has few colours, and many elements.
    const known = new Map();
    const rgba = (colour) => known.get(colour) ?? known.set(colour, painted(colour)).get(colour);
    const over = (above, below) => [0, 1, 2].map((at) => above[at] * above[3] + below[at] * (1 - above[3]));
    // Relative luminance and contrast as WCAG 2.2 defines them.
    const luminance = (colour) => {
        const linear = colour.map((one) => one / 255).map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
    };
    // What nothing paints is white, or Chromium's near black where the page says that it has a dark scheme too.
    const schemes = getComputedStyle(document.documentElement).colorScheme.split(" ");
    const isDark = schemes.includes("dark") && (!schemes.includes("light") || matchMedia("(prefers-color-scheme: dark)").matches);
    const unpainted = isDark ? [18, 18, 18] : [255, 255, 255];
    const background = (element) => {
        const layers = [];
        for (let one = element; one; one = one.parentElement) {
            const style = getComputedStyle(one);
            if (style.backgroundImage !== "none") return null;
            layers.push(rgba(style.backgroundColor));
        }
        return layers.reduceRight((below, above) => over(above, below), unpainted);
    };
    const words = (element) => [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
    for (const element of all("body *").filter((one) => (words(one) || one.value) && shown(one))) {
        if (element.closest("script, style, noscript, :disabled, [aria-disabled=true]")) continue;
        const style = getComputedStyle(element);
        const below = background(element);
        if (!below) continue;
        const two = [luminance(over(rgba(style.color), below)), luminance(below)].sort((one, other) => other - one);
        const contrast = (two[0] + 0.05) / (two[1] + 0.05);
        const size = parseFloat(style.fontSize);
        const needed = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
        if (contrast < needed) tell(`contrast ${contrast.toFixed(2)}, not ${needed}`, [element]);
    }

    const small = all("button, input:not([type=hidden]), select, textarea, summary").filter((one) => {
        const box = (one.closest("label") ?? one).getBoundingClientRect();
        return shown(one) && (box.width < 24 || box.height < 24);
    });
    tell("a target is smaller than 24 pixels", small);
    const page = document.scrollingElement;
    // A phone widens its window to what the page needs, so the width that the screen has is the measure.
    const width = Math.min(page.clientWidth, screen.width);
    if (page.scrollWidth > width) {
        findings.push(`the page is ${page.scrollWidth} pixels wide, the window ${width}`);
        tell("wider than the window", all("body *").filter((one) => shown(one) && one.getBoundingClientRect().right > width));
    }
    return findings;
}
