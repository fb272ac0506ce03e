// What a page can do beyond its forms. Without it, everything but live progress works.
"use strict";

// Live progress: the page brings each run as it stood, and this changes what has changed since.
(() => {
  // A browser opens six connections to a place at most, over all of its windows.
  const MOST_STREAMS = 2;
  // What is heard must not drown what is read.
  const SPEAK_EVERY_MS = 10000;
  // A run that has ended and is not in the tables yet is asked about again, without haste.
  const ASK_AGAIN_MS = 5000;
  // A run that is to come by itself is looked for, for a minute.
  const LOOK_EVERY_MS = 1000;
  const MOST_LOOKS = 60;
  const STEPS = ["asked", "fetched", "published", "raw", "folded"];
  const STATUS = { queued: "Queued", running: "Working", waiting: "Waiting", succeeded: "Done", partial: "Done in part", failed: "Failed" };

  const streams = new Map();
  const endedAt = new Map();
  let looks = 0;
  let spokenAt = 0;

  const row = (id) => document.getElementById("run-" + id);

  function speak(text, always) {
    const live = document.getElementById("live");
    const now = Date.now();
    if (!live || live.textContent === text || (!always && now - spokenAt < SPEAK_EVERY_MS)) return;
    spokenAt = now;
    live.textContent = text;
  }

  function set(element, text) {
    if (element && element.textContent !== text) element.textContent = text;
  }

  function count(number, one) {
    return number.toLocaleString("en") + " " + one + (number === 1 ? "" : "s");
  }

  function duration(ms) {
    const seconds = Math.max(0, Math.round(ms / 1000));
    if (seconds < 60) return seconds + " s";
    const minutes = Math.floor(seconds / 60);
    return minutes < 60 ? minutes + " min " + (seconds % 60) + " s" : Math.floor(minutes / 60) + " h " + (minutes % 60) + " min";
  }

  function waits(progress) {
    const parts = [];
    if (progress.throttle_count > 0) {
      const times = progress.throttle_count === 1 ? "once" : progress.throttle_count === 2 ? "twice" : progress.throttle_count + " times";
      parts.push("throttled " + times + ", waited " + duration(progress.throttle_wait_ms));
    }
    const left = progress.not_before ? Date.parse(progress.not_before) - Date.now() : 0;
    if (progress.status === "waiting" && left > 0) parts.push("goes on in " + duration(left));
    return parts.join("; ");
  }

  function show(id, progress) {
    const run = row(id);
    if (!run) return;
    const status = STATUS[progress.status] || progress.status;
    const said = run.querySelector("[data-status] .said");
    if (said) set(said.lastChild.nodeType === Node.TEXT_NODE ? said.lastChild : said, " " + status);
    for (const name of STEPS) {
      const step = run.querySelector('[data-step="' + name + '"]');
      if (!step || typeof progress[name] !== "number") continue;
      const of = progress.asked || 0;
      const done = Math.min(progress[name], of);
      const bar = step.querySelector("progress");
      if (bar) {
        bar.max = Math.max(of, 1);
        bar.value = done;
      }
      // Meta's answers are counted in rows, everything else in days.
      const text = name === "fetched" ? count(progress.fetched, "row") : name === "asked" ? count(of, "day") : done + " of " + of;
      set(step.querySelector(".step-count"), of > 0 || name === "fetched" ? text : "–");
    }
    if (progress.asked > 0) set(run.querySelector("[data-days]"), progress.published + " of " + count(progress.asked, "day"));
    set(run.querySelector("[data-rows]"), count(progress.fetched, "row"));
    const line = run.querySelector("[data-waits]");
    const text = waits(progress);
    if (line) {
      set(line, text);
      line.hidden = text === "";
    }
    const job = run.querySelector("h3").textContent;
    if (progress.asked > 0) speak(job + ": " + status + ", " + progress.folded + " of " + progress.asked + " days in the tables", false);
  }

  // The page as it is now, with its numbers. What somebody has unfolded stays so, and who is at a link or a button stays there.
  function renew() {
    const within = (css) => Array.from(document.querySelectorAll("#main " + css));
    const words = (details) => details.closest("[id]").id + details.firstElementChild.textContent;
    const opened = within("details[open]").map(words);
    const at = document.activeElement && document.activeElement.closest("#main *");
    const address = new URL(location.href);
    // What became of a question is no news any more.
    address.searchParams.delete("sync");
    const shown = window.htmx.ajax("GET", address.pathname + address.search, { target: "#main", select: "#main", swap: "outerHTML" });
    shown.then(() => {
      for (const details of within("details")) if (opened.includes(words(details))) details.open = true;
      const again = at && within("*").find((one) => one.outerHTML === at.outerHTML);
      if (again) again.focus({ preventScroll: true });
    });
  }

  function close(id) {
    const stream = streams.get(id);
    if (stream) stream.close();
    streams.delete(id);
  }

  function open(id) {
    const stream = new EventSource("/api/sync-runs/" + id + "/events");
    streams.set(id, stream);
    stream.addEventListener("progress", (event) => show(id, JSON.parse(event.data)));
    stream.addEventListener("end", () => {
      const run = row(id);
      if (run && !endedAt.has(id)) speak(run.querySelector("h3").textContent + ": the run has ended", true);
      close(id);
      endedAt.set(id, Date.now());
      renew();
    });
    stream.addEventListener("error", () => {
      // Where the browser does not try again by itself, because the service was restarting or had no place free: later.
      if (stream.readyState !== EventSource.CLOSED) return;
      streams.delete(id);
      setTimeout(watch, 10000);
    });
  }

  function watch() {
    const live = document.hidden ? [] : Array.from(document.querySelectorAll("[data-live]"), (run) => run.dataset.live);
    for (const id of Array.from(streams.keys())) if (!live.includes(id)) close(id);
    for (const id of live) {
      if (streams.size >= MOST_STREAMS || streams.has(id)) continue;
      const pause = endedAt.has(id) ? endedAt.get(id) + ASK_AGAIN_MS - Date.now() : 0;
      if (pause > 0) window.setTimeout(watch, pause);
      else open(id);
    }
  }

  function look() {
    if (!document.querySelector("[data-soon]") || looks >= MOST_LOOKS) return;
    looks += 1;
    window.setTimeout(renew, LOOK_EVERY_MS);
  }

  document.addEventListener("DOMContentLoaded", watch);
  document.addEventListener("DOMContentLoaded", look);
  document.addEventListener("visibilitychange", watch);
  document.addEventListener("htmx:afterSettle", watch);
  document.addEventListener("htmx:afterSettle", (event) => event.target.id === "main" && look());
  window.addEventListener("pagehide", () => streams.forEach((stream) => stream.close()));
  window.addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    streams.clear();
    watch();
  });
})();
