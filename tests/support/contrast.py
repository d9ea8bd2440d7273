"""Whether the text of a page in a browser can be read."""

# Contrast (WCAG 2) of every text on the page with the first opaque colour behind it; those below 4.5, in words. Tags lie on
# pictures, on a ground of their own that lets these through.
CONTRAST = """
const rgb = (c) => (c.match(/[\\d.]+/g) || []).map(Number);
const luminance = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] === 1) return c; }
  return rgb(getComputedStyle(document.documentElement).backgroundColor); };
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), poor = [];
while (walker.nextNode()) {
  const e = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || !e.checkVisibility() || e.closest('.tag, .mp-tag, .hidden, .skip')) continue;
  const [a, b] = [luminance(rgb(getComputedStyle(e).color)), luminance(behind(e))].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  if (!(ratio >= 4.5)) poor.push(ratio.toFixed(2) + ' ' + walker.currentNode.data.trim());
}
return poor;
"""
