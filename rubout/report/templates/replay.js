// Types a sample again, key by key. Without this the page says the same, standing still.
"use strict";
for (const sample of document.querySelectorAll("[data-keys]")) {
  const typed = sample.querySelector(".typed");
  const button = sample.querySelector("button");
  const still = [...typed.childNodes];
  const keys = JSON.parse(sample.dataset.keys);
  const delay = Math.min(170, Math.max(25, 5000 / keys.length));
  let timer = 0;

  const label = (words) => {
    button.textContent = words;
    button.ariaLabel = button.ariaLabel.replace(/^\S+/, words.slice(2));
  };

  const rest = () => {
    clearTimeout(timer);
    timer = 0;
    typed.replaceChildren(...still);
    typed.style.minHeight = "";
    label("▶ Play");
  };

  const play = () => {
    const given = document.createElement("span");
    const text = document.createElement("span");
    const caret = document.createElement("span");
    given.className = "given";
    given.textContent = sample.dataset.prompt;
    caret.className = "caret";
    const tape = [];
    let next = 0;
    typed.style.minHeight = `${typed.offsetHeight}px`;
    typed.replaceChildren(given, text, caret);
    label("■ Stop");
    const press = () => {
      if (next === keys.length) {
        timer = setTimeout(rest, 1500);
        return;
      }
      const key = keys[next++];
      if (key === null) tape.pop();
      else tape.push(key);
      text.textContent = tape.join("");
      timer = setTimeout(press, key === null || keys[next] === null ? 2.5 * delay : delay);
    };
    press();
  };

  button.addEventListener("click", () => (timer ? rest() : play()));
  addEventListener("beforeprint", rest);
  button.hidden = false;
}
