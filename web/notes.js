/** Larger text in the notes of this pack's templates, which open at a scale at which the editor's own size is small. */
import { app } from "../../scripts/app.js";

const SIZE = "stylegan_nada_text_size"; // property of such a note: px, as tools/workflows/graph.py writes it
const VARIABLE = "--comfy-textarea-font-size"; // the editor's own, which holds the user's choice

app.registerExtension({
  name: "StyleGAN-NADA.Notes",
  loadedGraphNode(node) {
    const usual = parseFloat(getComputedStyle(document.documentElement).getPropertyValue(VARIABLE)) || 0;
    if (node.properties?.[SIZE] > usual) enlarge(node, `${node.properties[SIZE]}px`);
  },
});

function enlarge(node, size) {
  for (const widget of node.widgets ?? []) widget.element?.style.setProperty(VARIABLE, size);

  // Nodes 2.0 draws notes by itself, and its nodes have only their ids to be found by.
  const rules = document.createElement("style");
  const text = `[data-node-id="${node.id}"] .comfy-markdown-content`;
  rules.textContent = `
    ${text} { ${VARIABLE}: ${size}; line-height: 1.4; }
    ${text} :is(h1, h2, p, ul, ol, li) { margin-block: 0.3em; }`;
  document.head.append(rules);
  const removed = node.onRemoved;
  node.onRemoved = function () {
    rules.remove();
    removed?.apply(this, arguments);
  };
}
