/**
 * Place the settings of a training: on the training node itself, or on NADA Training Options beside it. Convert files
 * from before that node existed, whose training nodes had all settings. Nothing here needs ComfyUI.
 */

export const OPTIONS_NODE = "NADATrainingOptions";
export const OPTIONS_TYPE = "NADA_OPTIONS";
export const LOADER = "LoadStyleGAN2";

/** The widgets of a training node, in their order. A preset resets those in RUN to the values here. */
const RUN = { iterations: 0, batch: 0, learning_rate: -1, layers: "recommended" };
const AFTER = ["seed", "preview_every", "preview_images", "snapshots"];
export const WIDGETS = {
  NADATextAdapt: ["source", "target", ...Object.keys(RUN), ...AFTER],
  NADAImageAdapt: ["target", "image_share", "source", ...Object.keys(RUN), ...AFTER, "style_weight"],
};
/** The values of widgets that did not exist in earlier versions. */
const ADDED = { style_weight: 0 };

/** The widgets of NADA Training Options with their defaults, in their order; `train.rank` is there for lora only. */
export const OPTIONS = {
  train: "weights", "train.rank": 8, train_torgb: false, train_const: false, train_mapping: false, layer_count: 12,
  select_every: 1, select_batch: 8, mixing: 0, angle_weight: 0, norm_weight: 0, patch_weight: 0, views: -1,
  precision: "full", cuda_graphs: false,
};

/** The widgets that training nodes had in earlier versions, in their order. */
const FORMER_TAIL = [
  "iterations", "batch", "learning_rate", "seed", "preview_every", "layers", "layer_count", "select_every",
  "select_batch", "mixing", "preview_images", "views", "train", "rank", "train_torgb", "train_const", "train_mapping",
  "angle_weight", "norm_weight", "patch_weight", "snapshots", "precision", "cuda_graphs",
];
const FORMER = {
  NADATextAdapt: ["preset", "source", "target", ...FORMER_TAIL],
  NADAImageAdapt: ["target", "image_share", "source", ...FORMER_TAIL],
};

/** Return a preset's settings as values of widgets: a number of layers becomes "count" and a count. */
export function widgetValues(settings) {
  const { layers, learning_rate, ...values } = settings;
  if (layers !== undefined) values.layers = typeof layers === "number" ? "count" : layers;
  if (typeof layers === "number") values.layer_count = layers;
  if (learning_rate !== undefined) values.learning_rate = learning_rate ?? 0;
  return values;
}

/**
 * Return the values that a preset writes into widgets: { node, options }, for the two nodes. A widget that other presets
 * set and this one does not gets its default, so that earlier choices leave no trace.
 * @param settings the settings of the preset
 * @param all the settings of every preset
 */
export function presetValues(settings, all) {
  const defaults = { ...RUN, ...OPTIONS };
  const owned = Object.keys(Object.assign({}, ...all.map(widgetValues))).filter((name) => name in defaults);
  const reset = Object.fromEntries(owned.map((name) => [name, defaults[name]]));
  const values = { ...reset, ...RUN, ...widgetValues(settings) };
  const of = (inOptions) =>
    Object.fromEntries(Object.entries(values).filter(([name]) => name in OPTIONS === inOptions));
  return { node: of(false), options: of(true) };
}

/** Return whether values for NADA Training Options differ from its defaults, so that a training needs that node. */
export function needsOptions(values, layers) {
  return Object.entries(values).some(
    ([name, value]) => value !== OPTIONS[name] && (name !== "layer_count" || layers === "count"),
  );
}

/**
 * Convert a workflow of an earlier version in place: training nodes from before NADA Training Options, and downloads
 * from before they had a list of their own.
 * @param workflow a workflow as the editor saves it
 * @param presets settings by the name of the preset
 * @param loader the entries of Load StyleGAN2: { names, downloads }
 * @returns how many nodes it converted
 */
export function convertWorkflow(workflow, presets = {}, loader = { names: [], downloads: [] }) {
  const graphs = [workflow, ...(workflow.definitions?.subgraphs ?? [])];
  const ids = new Ids(graphs);
  let converted = 0;
  for (const graph of graphs) {
    for (const node of [...(graph.nodes ?? [])]) {
      converted += convertDownload(node, loader);
      const values = formerValues(node);
      if (!values) continue;
      convertNode(graph, node, withPreset(values, presets), ids);
      converted += 1;
    }
  }
  if (converted) ids.store(graphs);
  return converted;
}

/** Replace "(download) NAME (SIZE, LICENSE)" by its entry in the list of downloads; return 1 if there is one, else 0. */
function convertDownload(node, { names, downloads }) {
  const name = node.type === LOADER && /^\(download\) (\S+)/.exec(node.widgets_values?.[0])?.[1];
  const entry = name && downloads.find((candidate) => candidate.includes(`| ${name},`));
  if (!entry) return 0;
  node.widgets_values = [names.at(-1), entry];
  delete node.widgets_values_named;
  return 1;
}

/** Return the values of a training node of earlier versions by name; undefined for any other node. */
function formerValues(node) {
  const names = FORMER[node.type];
  if (!names) return undefined;
  if (node.widgets_values_named) {
    return "layer_count" in node.widgets_values_named ? { ...node.widgets_values_named } : undefined;
  }
  if (node.widgets_values?.length !== names.length) return undefined;
  return Object.fromEntries(names.map((name, i) => [name, node.widgets_values[i]]));
}

/** Return the values, overridden by those of the preset. */
function withPreset({ preset, ...values }, presets) {
  return { ...values, ...widgetValues(presets[preset] ?? {}) };
}

function convertNode(graph, node, values, ids) {
  const { rank, ...others } = values;
  const options = { ...OPTIONS, "train.rank": rank };
  for (const name of Object.keys(OPTIONS)) if (name in others) options[name] = others[name];
  const moved = (node.inputs ?? []).filter((input) => optionName(input.name) in OPTIONS);
  const linked = moved.filter((input) => input.link != null);

  node.widgets_values = WIDGETS[node.type].map((name) => values[name] ?? ADDED[name]);
  delete node.widgets_values_named;
  node.inputs = (node.inputs ?? []).filter((input) => !moved.includes(input) && input.name !== "preset");
  if (linked.length || needsOptions(options, values.layers)) {
    const added = optionsNode(node, options, linked, ids);
    graph.nodes.push(added);
    const link = ids.link();
    added.outputs[0].links.push(link);
    const sockets = node.inputs.filter((input) => !input.widget).length;
    node.inputs.splice(sockets, 0, { name: "options", type: OPTIONS_TYPE, shape: 7, link });
    const ends = { id: link, origin_id: added.id, origin_slot: 0, target_id: node.id, target_slot: sockets };
    graph.links.push(newLink(graph, { ...ends, type: OPTIONS_TYPE }));
    aim(graph, added);
  }
  aim(graph, node);
}

function optionsNode(node, options, linked, ids) {
  const names = Object.keys(OPTIONS).filter((name) => name !== "train.rank" || options.train === "lora");
  const [x, y] = [node.pos[0] ?? node.pos["0"], node.pos[1] ?? node.pos["1"]];
  const height = node.size?.[1] ?? node.size?.["1"] ?? 400;
  return {
    id: ids.node(), type: OPTIONS_NODE, pos: [x - 380, y + height + 60], size: [340, 440], flags: {}, order: 0,
    mode: node.mode ?? 0,
    inputs: linked.map((input) => {
      const name = optionName(input.name);
      return { ...input, name, widget: { name } };
    }),
    outputs: [{ name: "options", type: OPTIONS_TYPE, links: [] }],
    properties: { "Node name for S&R": OPTIONS_NODE, cnr_id: "stylegan-nada" },
    widgets_values: names.map((name) => options[name]),
  };
}

function optionName(name) {
  return name === "rank" ? "train.rank" : name;
}

/** Point the links of a node's inputs to their slots. Links are lists, or objects in subgraphs. */
function aim(graph, node) {
  node.inputs.forEach((input, slot) => {
    const link = graph.links.find((candidate) => (candidate.id ?? candidate[0]) === input.link);
    if (!link) return;
    if (Array.isArray(link)) [link[3], link[4]] = [node.id, slot];
    else Object.assign(link, { target_id: node.id, target_slot: slot });
  });
}

function newLink(graph, link) {
  const inSubgraph = graph.links.length ? !Array.isArray(graph.links[0]) : "inputNode" in graph;
  return inSubgraph ? link : [link.id, link.origin_id, link.origin_slot, link.target_id, link.target_slot, link.type];
}

/** Source of ids that no node and no link of a file uses. */
class Ids {
  constructor(graphs) {
    const nodes = graphs.flatMap((graph) => (graph.nodes ?? []).map((node) => Number(node.id) || 0));
    const links = graphs.flatMap((graph) => (graph.links ?? []).map((link) => link.id ?? link[0]));
    this.lastNode = Math.max(0, ...graphs.map((graph) => graph.last_node_id ?? graph.state?.lastNodeId ?? 0), ...nodes);
    this.lastLink = Math.max(0, ...graphs.map((graph) => graph.last_link_id ?? graph.state?.lastLinkId ?? 0), ...links);
  }

  node() {
    return ++this.lastNode;
  }

  link() {
    return ++this.lastLink;
  }

  store(graphs) {
    for (const graph of graphs) {
      if ("last_node_id" in graph) Object.assign(graph, { last_node_id: this.lastNode, last_link_id: this.lastLink });
      if (graph.state) Object.assign(graph.state, { lastNodeId: this.lastNode, lastLinkId: this.lastLink });
    }
  }
}
