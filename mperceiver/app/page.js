// The divider of each picture is a range input, for pointer and keyboard alike. Results come and go, so the page listens for all of them.
document.addEventListener("input", ({ target }) => {
  const box = target.closest(".mp-compare");
  if (!box) return;
  box.style.setProperty("--x", `${target.value}%`);
  target.setAttribute("aria-valuetext", `${target.value} % before, ${100 - target.value} % after`);
});
document.addEventListener("click", ({ target }) => {
  const button = target.closest("[data-mp]");
  if (!button) return;
  const box = button.closest(".mp-result").querySelector(".mp-compare");
  const on = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", on);
  if (button.dataset.mp === "full") {
    box.classList.toggle("full", on);
    return;
  }
  const image = box.querySelector(".mp-after img");
  image.src = on ? button.dataset.src : image.dataset.restored;
  box.querySelector(".mp-tag.right").textContent = on ? "ground truth" : "after";
});
