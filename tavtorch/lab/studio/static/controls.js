// The controls of a system: a slider with its number, a menu or a switch for each setting.
import { make } from "./api.js";

let count = 0;

export class Controls {
  constructor(system) {
    this.values = {};
    const shown = system.controls.filter(one => one.given), more = system.controls.filter(one => !one.given);
    this.element = make("div", {}, ...shown.map(one => this.control(one)));
    if (more.length) this.element.append(make("details", {}, make("summary", { textContent: "more settings" }), ...more.map(one => this.control(one))));
  }

  control(one) {
    const { value } = one, id = `control-${++count}`;
    const words = make("p", { className: "words", textContent: one.words });
    const set = chosen => { if (chosen === one.value) delete this.values[one.path]; else this.values[one.path] = chosen; };
    const head = make("label", { htmlFor: id, textContent: one.label });
    if (one.kind === "switch") {
      const box = make("input", { type: "checkbox", id, checked: value });
      box.addEventListener("change", () => set(box.checked));
      return make("div", { className: "control" }, box, " ", head, words);
    }
    if (one.kind === "choice" || one.kind === "system") {
      const options = one.kind === "choice" ? one.choices : Object.keys(one.alternatives);
      const menu = make("select", { id }, ...options.map(name => make("option", { value: name, textContent: name.split(".").pop(), selected: name === value })));
      const below = make("div"), whole = make("div", { className: "control" }, head, menu, words, below);
      const choose = () => {
        set(menu.value);
        if (one.kind !== "system") return;
        for (const other of Object.values(one.alternatives).flat()) delete this.values[other.path];
        below.replaceChildren(...one.alternatives[menu.value].map(other => this.control(other)));
      };
      menu.addEventListener("change", choose);
      choose();
      return whole;
    }
    return this.number(one, value, id, set, head, words);
  }

  number(one, value, id, set, head, words) {
    const whole = one.kind === "whole", start = one.value || 0;
    const log = !whole && start > 0, low = whole ? 0 : start > 0 ? Math.log(start / 30) : /negative/.test(one.words) ? -1 : 0;
    const high = whole ? Math.max(10, 4 * start) : log ? Math.log(start * 30) : 1;
    const to = number => log ? Math.log(Math.max(number, 1e-12)) : number;
    const slider = make("input", { type: "range", min: low, max: high, step: whole ? 1 : "any", ariaLabel: `${one.label}, coarse` });
    const field = make("input", { type: "number", id, step: whole ? 1 : "any", value: typeof value === "number" ? value : "", placeholder: value ?? "auto" });
    slider.value = to(typeof value === "number" ? value : start);
    slider.addEventListener("input", () => {
      const raw = log ? Math.exp(+slider.value) : +slider.value;
      field.value = whole ? raw : +raw.toPrecision(3);
      set(+field.value);
    });
    field.addEventListener("input", () => {
      if (field.value === "") return set(one.value);
      slider.value = to(+field.value);
      set(+field.value);
    });
    const extra = one.choices.map(name => {
      const button = make("button", { type: "button", textContent: name === "sure" ? "by the noise (SURE)" : name });
      button.addEventListener("click", () => { field.value = ""; field.placeholder = name; set(name); });
      return button;
    });
    return make("div", { className: "control" }, head, make("div", { className: "row" }, slider, field), ...extra, words);
  }
}
