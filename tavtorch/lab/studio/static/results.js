// What a job shows: progress and stop, pictures, contours, tracks, answers, downloads and the lines that do this.
import { job, make } from "./api.js";
import { Mixer } from "./sound.js";
import { framed } from "./stage.js";

// A result on the page, from the first progress to the end; gives what the job gave, or null.
export async function follow(list, title, asked, background) {
  const halt = new AbortController(), words = make("span", { className: "note" }), bar = make("progress", { ariaLabel: `Progress of ${title}` });
  const stop = make("button", { type: "button", textContent: "stop" }), close = make("button", { type: "button", textContent: "remove", hidden: true, ariaLabel: `Remove the result of ${title}` });
  const head = make("div", { className: "head" }, make("h3", { textContent: title }), bar, stop, close, words);  // the words change, and must not move a button
  const body = make("div"), element = make("section", { className: "result", ariaLabel: title }, head, body);
  stop.addEventListener("click", () => halt.abort());
  close.addEventListener("click", () => element.remove());
  list.prepend(element);
  try {
    const done = await job(asked, now => {
      const waits = now.state === "waiting" ? (now.before ? `${now.before} before it` : "waiting") : now.words;
      words.textContent = [waits, now.seconds > 1 && now.state === "running" ? `${now.seconds.toFixed(0)} s` : ""].filter(Boolean).join(", ");
    }, halt.signal);
    words.textContent = "";
    body.append(...content(done, background));
    return done;
  } catch (error) {
    if (error.name === "AbortError") words.textContent = "stopped";
    else { words.textContent = ""; body.append(make("p", { className: "fault", role: "alert", textContent: error.message })); }
    return null;
  } finally {
    bar.remove(); stop.remove(); close.hidden = false;
  }
}

export function facts(rows) {
  return make("dl", { className: "facts" }, ...rows.map(([name, value]) => make("div", {}, make("dt", { textContent: name }), make("dd", { textContent: value }))));
}

export function content(done, background) {
  const shown = make("div", { className: "shown" });
  for (const one of done.shown) {
    if (one.kind === "picture") picture(shown, one, done, background);
    else if (one.kind === "sounds") shown.append(new Mixer(one, done.url).element);
    else if (one.kind === "contours") shown.append(contours(one, background));
    else if (one.kind === "answer") shown.append(answer(one));
  }
  const downloads = done.downloads.map(name => make("a", { className: "button", href: done.url(name), download: name.slice(8), textContent: name.slice(8) }));
  const saved = downloads.length ? make("p", {}, make("span", { className: "note", textContent: "download: " }), ...downloads) : null;
  const lines = done.command ? make("details", {}, make("summary", { textContent: "the line that does this" }), line(done.command), line(done.python)) : null;
  return [facts(done.facts), shown, saved, lines].filter(Boolean);
}

function line(text) {
  const copy = make("button", { type: "button", textContent: "copy" });
  copy.addEventListener("click", async () => { await navigator.clipboard.writeText(text); copy.textContent = "copied"; });
  return make("div", { className: "line" }, make("pre", { textContent: text }), copy);
}

function picture(shown, one, done, background) {
  const src = one.url ?? (one.file ? done.url(one.file) : background), figure = make("figure", {}, make("figcaption", { textContent: one.caption }));
  const before = one.before && [...shown.children].find(other => other.dataset.caption === one.before);
  figure.dataset.caption = one.caption;
  if (!before) figure.append(make("img", { src, alt: one.caption }));
  else {
    const slider = make("input", { type: "range", min: 0, max: 100, step: 0.5, value: 50, ariaLabel: `${one.before} and ${one.caption}` });
    const pair = make("div", { className: "pair" }, make("img", { src: before.querySelector("img").src, alt: one.before }), make("img", { src, alt: one.caption }), slider);
    slider.addEventListener("input", () => pair.style.setProperty("--at", `${slider.value}%`));
    figure.className = "wide";
    figure.querySelector("figcaption").textContent = `${one.before} | ${one.caption}`;
    figure.append(pair);
    before.hidden = true;
  }
  shown.append(figure);
}

// The way of the contours, played over the picture.
function contours(one, picture) {
  const last = one.frames.length - 1;
  const canvas = make("canvas", { width: one.width, height: one.height }), pen = canvas.getContext("2d"), thin = Math.max(1, one.width / 400);
  const slider = make("input", { type: "range", min: 0, max: last, value: last, ariaLabel: "Step of the way" }), play = make("button", { type: "button", className: "main", textContent: "play" });
  const draw = () => {
    pen.clearRect(0, 0, one.width, one.height);
    for (const contour of one.frames[+slider.value]) {
      pen.beginPath();
      contour.forEach(([x, y]) => pen.lineTo(x + 0.5, y + 0.5));
      pen.closePath();
      Object.assign(pen, { strokeStyle: "#000", lineWidth: 3.5 * thin }); pen.stroke();
      Object.assign(pen, { strokeStyle: "#19e3ff", lineWidth: 1.8 * thin }); pen.stroke();
    }
  };
  let timer = null;
  const end = () => { clearInterval(timer); timer = null; play.textContent = "play"; };
  play.addEventListener("click", () => {
    if (timer) return end();
    slider.value = 0; draw(); play.textContent = "pause";
    timer = setInterval(() => { if (+slider.value >= last || !canvas.isConnected) return end(); slider.value = +slider.value + 1; draw(); }, 60);
  });
  slider.addEventListener("input", draw);
  draw();
  const stage = framed(one.width, one.height, make("img", { src: picture, alt: "The contours over the picture", width: one.width, height: one.height }), canvas);
  return make("figure", { className: "wide" }, stage, make("div", { className: "tools" }, play, slider));
}

function answer(one) {
  if (!one.rows.length) return make("p", { className: "answer wide", textContent: one.none });
  const head = make("p", { className: "answer", textContent: one.rows[0][0] });
  const rows = [one.head, ...one.rows].map((row, i) => make("tr", {}, ...row.map(cell => make(i ? "td" : "th", { textContent: cell }))));
  return make("div", { className: "wide" }, head, make("table", {}, ...rows));
}
