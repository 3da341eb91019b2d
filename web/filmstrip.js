/**
 * The filmstrip of NADA Pick Snapshot: one column per snapshot of a training; a click on a column picks it.
 * The server sends the strip as one picture, and its geometry (`filmstrip_geometry` in nada/pictures/grids.py).
 */
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { said } from "./language.js";

const NODE = "NADAPickSnapshot";
const EMPTY_HEIGHT = 24;

app.registerExtension({
  name: "StyleGAN-NADA.Filmstrip",
  nodeCreated(node) {
    if (node.comfyClass === NODE) addFilmstrip(node);
  },
});

function addFilmstrip(node) {
  const strip = document.createElement("div");
  Object.assign(strip.style, { width: "100%", color: "var(--descrip-text)", fontSize: "12px" });
  strip.textContent = said("Run, then click a column to pick it.");
  const height = () => (strip.shape ? (node.size[0] - 20) / strip.shape : EMPTY_HEIGHT);
  const widget = node.addDOMWidget("filmstrip", "filmstrip", strip, {
    serialize: false, // neither in the workflow nor in the prompt
    hideOnZoom: false,
    hideInPanel: true, // the properties panel would move the strip out of the node, and take its width
    getMinHeight: height,
    getMaxHeight: height,
  });
  widget.serialize = false;

  const widgetNamed = (name) => node.widgets.find((candidate) => candidate.name === name);
  const pick = (moment) => {
    widgetNamed("pick").value = "step";
    widgetNamed("step").value = moment;
    node.graph?.setDirtyCanvas(true, true);
    mark(strip, moment);
  };

  const executed = node.onExecuted;
  node.onExecuted = function (output) {
    executed?.apply(this, arguments);
    const geometry = output?.geometry?.[0];
    if (!geometry || !output.filmstrip?.length) return;
    const picture = new Image();
    picture.onload = () => {
      strip.shape = geometry.width / geometry.height;
      show(strip, picture, geometry, output.moments, pick);
      mark(strip, output.picked[0]);
      const [width, needed] = [node.size[0], node.computeSize()[1]];
      if (node.size[1] < needed) node.setSize([width, needed]);
      node.graph?.setDirtyCanvas(true, true);
    };
    picture.src = api.apiURL(`/view?${new URLSearchParams(output.filmstrip[0])}`);
  };

  const removed = node.onRemoved;
  node.onRemoved = function () {
    strip.replaceChildren(); // drops the listeners and the picture too
    removed?.apply(this, arguments);
  };
}

/** Show the picture, with a button over each column except the first, which shows the start. */
function show(strip, picture, geometry, moments, pick) {
  Object.assign(picture.style, { width: "100%", display: "block" });
  const pitch = geometry.tile_width + geometry.column_gap;
  const percent = (pixels) => `${(100 * pixels) / geometry.width}%`;
  const buttons = moments.map((moment, i) => {
    const button = document.createElement("button");
    button.title = `${said("Pick iteration")} ${moment}`;
    button.dataset.moment = moment;
    Object.assign(button.style, {
      position: "absolute", top: 0, height: "100%", left: percent((i + 1) * pitch),
      width: percent(geometry.tile_width),
      padding: 0, background: "none", border: "3px solid transparent", cursor: "pointer", boxSizing: "border-box",
    });
    button.onclick = () => pick(moment);
    return button;
  });
  const frame = document.createElement("div"); // as high as the picture, whatever height the node gives the strip
  frame.style.position = "relative";
  frame.append(picture, ...buttons);
  strip.replaceChildren(frame);
}

/** Draw a frame around the picked column. */
function mark(strip, moment) {
  for (const button of strip.querySelectorAll("button")) {
    button.style.borderColor = Number(button.dataset.moment) === moment ? "#3b82f6" : "transparent";
  }
}
