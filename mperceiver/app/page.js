// The divider of each picture is a range input, for pointer and keyboard alike. Results come and go, so the page listens for all of them.
// Gradio writes the attributes of all results anew when it shows one more, and an element may become another picture's. So what a person
// set is kept here, by the picture's address, and not in the elements.
const settings = new Map();
const settingOf = (figure) => settings.get(figure.dataset.key) || { divider: "50", full: false, target: false };
const put = (element, name, value) => { if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value); };

function show(figure) {
  const { divider, full, target } = settingOf(figure), box = figure.querySelector(".mp-compare"), range = box?.querySelector("input");
  if (!range || !figure.querySelector("[data-mp=full]")) return; // Gradio is still building it
  if (range.value !== divider) range.value = divider;
  put(range, "aria-valuetext", `${divider} % before, ${100 - divider} % after`);
  if (box.style.getPropertyValue("--x") !== `${divider}%`) box.style.setProperty("--x", `${divider}%`);
  box.classList.toggle("full", full);
  put(figure.querySelector("[data-mp=full]"), "aria-pressed", full);
  const button = figure.querySelector("[data-mp=target]"), image = box.querySelector(".mp-after img");
  if (!button) return;
  put(button, "aria-pressed", target);
  put(image, "src", target ? button.dataset.src : image.dataset.restored);
  const words = target ? "ground truth" : "after", tag = box.querySelector(".mp-tag.right");
  if (tag.textContent !== words) tag.textContent = words;
}

function set(figure, changed) {
  settings.set(figure.dataset.key, { ...settingOf(figure), ...changed });
  show(figure);
}

document.addEventListener("input", ({ target }) => {
  if (target.closest(".mp-compare")) set(target.closest(".mp-result"), { divider: target.value });
});
document.addEventListener("click", ({ target }) => {
  const button = target.closest("[data-mp]");
  if (button) set(button.closest(".mp-result"), { [button.dataset.mp]: button.getAttribute("aria-pressed") !== "true" });
});
const observer = new MutationObserver(() => {
  document.querySelectorAll(".mp-result").forEach(show);
  observer.takeRecords(); // forget the changes that `show` has just made
});
observer.observe(document, { subtree: true, childList: true, attributeFilter: ["style", "class", "data-key", "aria-pressed"] });
