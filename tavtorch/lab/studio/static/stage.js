// A picture to work on: a hole is painted over it, or contours are placed on it.
import { make } from "./api.js";

const PAINT = "#ffd52e", LINE = "#19e3ff";

// What lies over each other, as large as the window allows; a small picture is enlarged.
export function framed(width, height, ...children) {
  const element = make("div", { className: "stage" }, ...children), wanted = Math.max(width, Math.min(560, 4 * width));
  element.style.width = `min(100%, ${wanted}px, ${(75 * width / height).toFixed(1)}vh)`;
  return element;
}

export class Stage {
  constructor(url, width, height, kind) {
    Object.assign(this, { width, height, kind, tool: kind === "remove" ? "brush" : "circle", size: Math.max(4, Math.round(Math.min(width, height) / 25)) });
    this.image = make("img", { src: url, alt: "The picture to work on", width, height });
    this.canvas = make("canvas", { width, height, tabIndex: 0 });
    this.mask = make("canvas", { width, height });
    this.mask.getContext("2d", { willReadFrequently: true });
    this.tolerance = 0.1; this.picked = null;
    this.shapes = []; this.corners = []; this.past = []; this.cursor = [width / 2, height / 2]; this.active = null; this.keyed = false;
    const help = kind === "remove" ? "Paint what shall go. Arrow keys move, space paints, U undoes." : "Place contours. Arrow keys move, Enter places, plus and minus change the radius, U undoes.";
    this.canvas.setAttribute("role", "application"); this.canvas.setAttribute("aria-label", help);
    this.element = framed(width, height, this.image, this.canvas);
    for (const name of ["down", "move", "up", "cancel"]) this.canvas.addEventListener(`pointer${name}`, event => this[name]?.(event, this.at(event)));
    this.canvas.addEventListener("dblclick", () => this.close());
    this.canvas.addEventListener("keydown", event => this.key(event));
    this.tools = kind === "remove" ? this.holeTools() : this.contourTools();
    this.changed = () => {};
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * this.width - 0.5, ((event.clientY - box.top) / box.height) * this.height - 0.5];
  }

  button(text, action, pressed) {
    const button = make("button", { type: "button", textContent: text });
    if (pressed !== undefined) button.setAttribute("aria-pressed", pressed);
    button.addEventListener("click", () => action(button));
    return button;
  }

  choose(names) {
    const buttons = Object.entries(names).map(([tool, text]) => this.button(text, () => {
      this.tool = tool; this.corners = [];
      buttons.forEach(other => other.setAttribute("aria-pressed", other === mine[tool]));
      this.draw();
    }, tool === this.tool));
    const mine = Object.fromEntries(Object.keys(names).map((tool, i) => [tool, buttons[i]]));
    return buttons;
  }

  holeTools() {
    const size = make("input", { type: "range", min: 1, max: Math.round(Math.min(this.width, this.height) / 4), value: this.size });
    size.addEventListener("input", () => { this.size = +size.value; });
    const tolerance = make("input", { type: "range", min: 0, max: 0.5, step: 0.01, value: this.tolerance });
    tolerance.addEventListener("input", () => { this.tolerance = +tolerance.value; this.pickAgain(); });
    const clear = this.button("clear", () => { this.remember(); this.mask.getContext("2d").clearRect(0, 0, this.width, this.height); this.draw(); });
    const tools = this.choose({ brush: "brush", rubber: "rubber", lasso: "lasso", color: "pick a colour" });
    return make("div", { className: "tools", role: "toolbar", ariaLabel: "Tools" }, ...tools, this.button("undo", () => this.undo()), clear, make("label", {}, "brush size", size), make("label", {}, "tolerance of the colour", tolerance));
  }

  contourTools() {
    const tools = this.choose({ circle: "circle: click and drag", polygon: "polygon: click corners" });
    const close = this.button("close the polygon", () => this.close());
    return make("div", { className: "tools", role: "toolbar", ariaLabel: "Tools" }, ...tools, close, this.button("undo", () => this.undo()), this.button("clear", () => { this.remember(); this.shapes = []; this.corners = []; this.draw(); }));
  }

  down(event, point) {
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    this.keyed = false;
    this.begin(point);
  }

  begin(point) {
    if (this.tool === "brush" || this.tool === "rubber") { this.remember(); this.active = point; this.stroke(point, point); }
    else if (this.tool === "circle") this.active = { x: point[0], y: point[1], radius: 0 };
    else if (this.tool === "lasso" || this.tool === "polygon") this.corner(point);
    else if (this.tool === "color") this.pick(point);
    this.draw();
  }

  move(event, point) {
    this.cursor = point;
    if (this.active && this.tool === "circle") this.active.radius = Math.hypot(point[0] - this.active.x, point[1] - this.active.y);
    else if (this.active) { this.stroke(this.active, point); this.active = point; }
    if (this.active || this.corners.length) this.draw();
  }

  up() {
    if (this.active && this.tool === "circle") this.place(this.active);
    this.active = null;
    this.draw();
    if (this.tool !== "polygon" && this.tool !== "lasso") this.changed();
  }
  cancel() { this.active = null; this.draw(); }

  place(circle) {
    const radius = circle.radius > 2 ? circle.radius : 0.12 * Math.min(this.width, this.height);
    const room = Math.min(circle.x + 0.4, circle.y + 0.4, this.width - 0.6 - circle.x, this.height - 0.6 - circle.y);
    this.remember();
    this.shapes.push({ x: circle.x, y: circle.y, radius: Math.max(1, Math.min(radius, room)) });
  }

  corner(point) {
    const first = this.corners[0], near = Math.max(6, 0.015 * this.width);
    if (first && this.corners.length > 2 && Math.hypot(point[0] - first[0], point[1] - first[1]) < near) return this.close();
    this.corners.push(point);
  }

  close() {
    if (this.corners.length > 2) {
      this.remember();
      if (this.tool === "lasso") this.fill(this.corners);
      else this.shapes.push({ points: this.corners.map(([x, y]) => [Math.min(Math.max(x, -0.4), this.width - 0.6), Math.min(Math.max(y, -0.4), this.height - 0.6)]) });
      this.corners = [];
      this.draw();
      return this.changed();
    }
    this.corners = [];
    this.draw();
  }

  stroke(from, to) {
    const pen = this.mask.getContext("2d");
    pen.globalCompositeOperation = this.tool === "rubber" ? "destination-out" : "source-over";
    Object.assign(pen, { lineWidth: this.size, lineCap: "round", strokeStyle: PAINT });
    pen.beginPath(); pen.moveTo(from[0] + 0.5, from[1] + 0.5); pen.lineTo(to[0] + 0.5, to[1] + 0.51); pen.stroke();
    pen.globalCompositeOperation = "source-over";
  }

  fill(corners) {
    const pen = this.mask.getContext("2d");
    pen.fillStyle = PAINT; pen.beginPath();
    corners.forEach(([x, y], i) => i ? pen.lineTo(x + 0.5, y + 0.5) : pen.moveTo(x + 0.5, y + 0.5));
    pen.fill();
  }

  // All pixels that differ from a pixel by at most the tolerance in each channel, as `hole_from_color` has it.
  pick([x, y]) {
    this.remember();
    this.picked = [x, y];
    const copy = make("canvas", { width: this.width, height: this.height }), from = copy.getContext("2d"), pen = this.mask.getContext("2d");
    from.drawImage(this.image, 0, 0, this.width, this.height);
    const pixels = from.getImageData(0, 0, this.width, this.height).data, marks = pen.getImageData(0, 0, this.width, this.height);
    const at = 4 * (Math.round(y) * this.width + Math.round(x));
    for (let i = 0; i < pixels.length; i += 4)
      if ([0, 1, 2].every(k => Math.abs(pixels[i + k] - pixels[at + k]) <= 255 * this.tolerance)) marks.data.set([255, 213, 46, 255], i);
    pen.putImageData(marks, 0, 0);
  }

  // With another tolerance, while nothing else was done since.
  pickAgain() {
    const { picked } = this;
    if (!picked) return;
    this.undo();
    this.pick(picked);
    this.draw();
  }

  remember() {
    this.picked = null;
    const hole = this.kind === "remove" ? this.mask.getContext("2d").getImageData(0, 0, this.width, this.height) : null;
    this.past.push({ hole, shapes: [...this.shapes] });
    if (this.past.length > Math.max(2, Math.min(30, 4e7 / (this.width * this.height)))) this.past.shift();
  }

  undo() {
    this.picked = null;
    if (this.corners.length) this.corners.pop();
    else {
      const before = this.past.pop();
      if (before?.hole) this.mask.getContext("2d").putImageData(before.hole, 0, 0);
      if (before) this.shapes = before.shapes;
    }
    this.draw();
  }

  key(event) {
    const step = event.shiftKey ? 1 : Math.max(2, Math.round(this.width / 50)), moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    const last = this.shapes.at(-1), pressed = event.key.toLowerCase();
    if (moves[event.key]) {
      const before = this.cursor, [dx, dy] = moves[event.key];
      this.cursor = [Math.min(Math.max(before[0] + dx, 0), this.width - 1), Math.min(Math.max(before[1] + dy, 0), this.height - 1)];
    } else if (event.key === " " || event.key === "Enter") {
      if (event.key === "Enter" && this.corners.length > 2) this.close();
      else { this.begin(this.cursor); this.up(); }
    } else if ((pressed === "+" || pressed === "-") && last?.radius) last.radius *= pressed === "+" ? 1.1 : 1 / 1.1;
    else if (pressed === "u" || (pressed === "z" && (event.ctrlKey || event.metaKey))) this.undo();
    else return;
    this.keyed = true;
    event.preventDefault();
    this.draw();
  }

  draw(frame) {
    const pen = this.canvas.getContext("2d"), thin = Math.max(1, this.width / 500);
    pen.clearRect(0, 0, this.width, this.height);
    pen.globalAlpha = 0.65; pen.drawImage(this.mask, 0, 0); pen.globalAlpha = 1;
    const shapes = frame ? [] : [...this.shapes, ...(this.active?.radius ? [this.active] : [])];
    for (const shape of shapes) {
      pen.beginPath();
      if (shape.radius) pen.arc(shape.x + 0.5, shape.y + 0.5, shape.radius, 0, 7);
      else { shape.points.forEach(([x, y]) => pen.lineTo(x + 0.5, y + 0.5)); pen.closePath(); }
      this.outline(pen, thin);
    }
    if (this.corners.length) {
      pen.beginPath();
      this.corners.forEach(([x, y]) => pen.lineTo(x + 0.5, y + 0.5));
      if (!this.keyed || this.corners.length) pen.lineTo(this.cursor[0] + 0.5, this.cursor[1] + 0.5);
      this.outline(pen, thin);
    }
    if (this.keyed) {
      const [x, y] = this.cursor, arm = 8 * thin;
      pen.beginPath(); pen.moveTo(x - arm, y); pen.lineTo(x + arm, y); pen.moveTo(x, y - arm); pen.lineTo(x, y + arm);
      this.outline(pen, thin);
    }
  }

  outline(pen, thin) {
    Object.assign(pen, { strokeStyle: "#000", lineWidth: 3.5 * thin }); pen.stroke();
    Object.assign(pen, { strokeStyle: LINE, lineWidth: 1.8 * thin }); pen.stroke();
  }

  // The hole, white on black, or null where nothing is painted.
  async hole() {
    const marks = this.mask.getContext("2d").getImageData(0, 0, this.width, this.height), data = marks.data;
    let any = false;
    for (let i = 0; i < data.length; i += 4) {
      const on = data[i + 3] > 127 ? 255 : 0;
      any ||= on > 0;
      data[i] = data[i + 1] = data[i + 2] = on; data[i + 3] = 255;
    }
    if (!any) return null;
    const out = make("canvas", { width: this.width, height: this.height });
    out.getContext("2d").putImageData(marks, 0, 0);
    return new Promise(resolve => out.toBlob(resolve, "image/png"));
  }

  // A mask that was dropped: its light pixels are added to the hole.
  async addMask(file) {
    const picture = await createImageBitmap(file).catch(() => { throw new Error(`${file.name}: no picture that the browser can read; a mask is a PNG, white where pixels are missing.`); });
    if (picture.width !== this.width || picture.height !== this.height) throw new Error(`${file.name}: the mask has ${picture.width} × ${picture.height} pixels, and the picture ${this.width} × ${this.height}.`);
    this.remember();
    const copy = make("canvas", { width: this.width, height: this.height }).getContext("2d"), pen = this.mask.getContext("2d");
    copy.drawImage(picture, 0, 0);
    const light = copy.getImageData(0, 0, this.width, this.height).data, marks = pen.getImageData(0, 0, this.width, this.height);
    for (let i = 0; i < light.length; i += 4) if (Math.max(light[i], light[i + 1], light[i + 2]) > 127 && light[i + 3] > 127) marks.data.set([255, 213, 46, 255], i);
    pen.putImageData(marks, 0, 0);
    this.draw();
    this.changed();
  }
}
