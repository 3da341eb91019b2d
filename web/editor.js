/**
 * Additions to the editor: a menu of presets, folded advanced inputs, conversion of workflows of earlier versions, and
 * lines on nodes in the user's language.
 */
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { learnLanguage, said, saidOnNode } from "./language.js";
import { convertWorkflow, LOADER, needsOptions, OPTIONS_NODE, presetValues, WIDGETS } from "./training_settings.js";

const CATEGORY = "StyleGAN-NADA";
const LABEL = "Presets...";
const SAVING = ["NADASaveGenerator", "NADASaveStyle", "NADASaveMapper", "NADAAdaptMany"];
const BESIDE = 380; // px between a training node and the options node that a preset adds
let menu = {}; // presets by what the generator makes, from nodes/presets.py
let loader; // the entries of Load StyleGAN2

app.registerExtension({
  name: "StyleGAN-NADA.Editor",
  async init() {
    await learnLanguage(app.ui.settings.getSettingValue("Comfy.Locale"));
    api.addEventListener("progress_text", translateLine);
  },
  beforeRegisterNodeDef(nodeType, nodeData) {
    const { required, optional } = nodeData.input ?? {};
    menu = required?.target?.[1]?.presets ?? menu;
    if (nodeData.name === LOADER) {
      loader = { names: required.generator_name[1].options, downloads: optional.download[1].options };
    }
  },
  beforeConfigureGraph(workflow) {
    translate(workflow);
    convertWorkflow(workflow, Object.fromEntries(presets().map(({ name, settings }) => [name, settings])), loader);
  },
  nodeCreated(node) {
    if (!isOurs(node)) return;
    if (node.comfyClass in WIDGETS) addMenu(node);
    showOnePicture(node);
    if (SAVING.includes(node.comfyClass)) listSaved(node);
    if (node.comfyClass === LOADER) showDownloads(node);
    fold(node);
  },
});

function isOurs(node) {
  return Boolean(node?.constructor.nodeData?.category?.startsWith(CATEGORY));
}

/**
 * Show the translation of a line that the server sends to one of our nodes, as a further event too: the editor has the
 * line already if its own listener comes first. A translation has none itself, so that this ends.
 */
function translateLine({ detail }) {
  if (!isOurs(nodeOf(detail.nodeId))) return;
  const text = saidOnNode(detail.text);
  if (text === detail.text) return;
  detail.text = text; // for listeners that come later
  api.dispatchCustomEvent("progress_text", detail);
}

/** Return the node that the server means by an id, which has the ids of the subgraphs around it before a colon. */
function nodeOf(id) {
  let [node, graph] = [undefined, app.rootGraph ?? app.graph];
  for (const inner of String(id).split(":")) {
    node = graph?.getNodeById(inner);
    graph = node?.subgraph;
  }
  return node;
}

/** Translate the notes and titles of a template; any other workflow stays as it is. */
function translate(workflow) {
  const notes = (workflow.nodes ?? []).filter((node) => node.type === "MarkdownNote");
  const written = notes.map((node) => node.widgets_values?.[0]);
  if (!written.some((text) => said(text) !== text)) return;
  for (const group of workflow.groups ?? []) group.title = said(group.title);
  for (const node of workflow.nodes ?? []) {
    if (node.title) node.title = said(node.title);
    if (node.type === "MarkdownNote") node.widgets_values = node.widgets_values?.map(said);
  }
}

function presets() {
  return Object.values(menu).flat();
}

/** Fold advanced inputs in the classic editor too, which reads the widget and not its options. */
function fold(node) {
  const advanced = (node.widgets ?? []).filter((widget) => widget.options?.advanced);
  if (!advanced.length) return;
  for (const widget of advanced) {
    const { computeSize } = widget;
    widget.advanced = true;
    widget.computeSize = (width) => {
      if (!node.showAdvanced) return [0, -4]; // no row; the editor puts 4 px between rows
      return computeSize?.call(widget, width) ?? [width, LiteGraph.NODE_WIDGET_HEIGHT];
    };
  }
  node.setSize([node.size[0], node.computeSize()[1]]);
}

/**
 * Remove the last live preview once the node's own picture is there; both are the same, and Nodes 2.0 would show both.
 * Extensions have no call for that, so this asks the editor's own store, which counts the places that show a picture.
 * Older editors neither count nor have that action; there, this changes the store. It does nothing if there is none.
 */
function showOnePicture(node) {
  const executed = node.onExecuted;
  node.onExecuted = function (output) {
    executed?.apply(this, arguments);
    if (!LiteGraph.vueNodesMode || !output?.images?.length) return;
    const pinia = document.querySelector("#vue-app")?.__vue_app__?.config.globalProperties.$pinia;
    const store = pinia?._s?.get("nodeOutput");
    const place = node.graph === app.graph ? String(node.id) : `${node.graph?.id}:${node.id}`;
    if (store?.revokePreviewsByLocatorId) return store.revokePreviewsByLocatorId(place);
    const previews = store?.nodePreviewImages;
    for (const url of previews?.[place] ?? []) URL.revokeObjectURL(url);
    delete previews?.[place];
    delete app.nodePreviewImages?.[place];
  };
}

/** Let the loaders list each file that a node saves, as the key R does. */
function listSaved(node) {
  let last;
  const executed = node.onExecuted;
  node.onExecuted = function (output) {
    executed?.apply(this, arguments);
    const now = JSON.stringify(output); // the same again if the node did not run, because nothing changed
    if (now !== last) (app.reloadNodeDefs ?? app.refreshComboInNodes)?.call(app); // the latter in older editors
    last = now;
  };
}

/**
 * Show the list of downloads only while the last entry of the names is chosen: by the user, or in a node that is
 * loaded, copied or restored, whose values the editor sets without a callback.
 */
function showDownloads(node) {
  const [name, download] = ["generator_name", "download"].map((n) => node.widgets.find((w) => w.name === n));
  const [changed, configured] = [name.callback, node.onConfigure];
  const show = () => {
    const hidden = name.value !== loader.names.at(-1);
    download.hidden = hidden;
    download.options.hidden = hidden;
    const [width, height] = [node.size[0], node.computeSize()[1]];
    node.setSize([width, Math.max(height, hidden ? 0 : node.size[1])]);
    app.canvas?.setDirty(true, true);
  };
  name.callback = function () {
    changed?.apply(this, arguments);
    show();
  };
  node.onConfigure = function () {
    configured?.apply(this, arguments);
    show();
  };
  show();
}

/** Add a button that opens the presets. It is the last widget, because saved values are counted from the first. */
function addMenu(node) {
  const options = { serialize: false }; // not in the prompt
  const button = node.addWidget("button", "presets", null, (...args) => open(args.at(-1)), options);
  button.serialize = false; // nor in the workflow
  button.label = said(LABEL);

  function open(event) {
    const shown = event instanceof Event ? event : window.event;
    const groups = Object.entries(menu).map(([generator, entries]) => ({
      content: said(generator),
      has_submenu: true,
      submenu: { options: entries.map((preset) => ({ content: preset.name, callback: () => choose(preset) })) },
    }));
    new LiteGraph.ContextMenu(groups, { event: shown, title: said("Presets for") });
  }

  function choose(preset) {
    fill(node, preset);
    const wish = preset.clip ? ` ${preset.name}: ${said("take this in Load CLIP:")} ${preset.clip}` : "";
    button.label = said(LABEL) + wish;
    const summary = `${preset.name} ${said("is in the widgets")}`;
    app.extensionManager?.toast?.add({ severity: "info", summary, detail: preset.why, life: 8000 });
  }
}

/** Write a preset into the widgets of a training node and of its options node, which is added if it is needed. */
function fill(node, preset) {
  const values = presetValues(preset.settings, presets().map(({ settings }) => settings));
  node.graph.beforeChange();
  set(node, values.node);
  const slot = node.inputs.findIndex((input) => input.name === "options");
  let options = node.getInputNode(slot);
  if (!options && needsOptions(values.options, values.node.layers)) options = addOptions(node, slot);
  if (options?.comfyClass === OPTIONS_NODE) set(options, values.options);
  node.graph.afterChange();
  app.canvas.setDirty(true, true);
}

function addOptions(node, slot) {
  const options = LiteGraph.createNode(OPTIONS_NODE);
  options.pos = [node.pos[0] - BESIDE, node.pos[1] + node.size[1] + 60];
  node.graph.add(options);
  options.connect(0, node, slot);
  return options;
}

function set(node, values) {
  for (const [name, value] of Object.entries(values)) {
    const widget = node.widgets.find((candidate) => candidate.name === name);
    if (!widget) continue;
    widget.value = value;
    widget.callback?.(value, app.canvas, node);
  }
}
