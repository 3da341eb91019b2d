/** Translate the texts of this pack's templates and scripts, and the lines on its nodes, to the user's language. */

const SEPARATOR = " | "; // between the parts of a line on a node
let texts = {}; // {English text: translation}
let lines = []; // [pattern, translation] of parts of lines on nodes, the most particular pattern first

/** Load the translations for a locale, such as "zh" or "zh-TW"; without files for it, texts stay English. */
export async function learnLanguage(locale) {
  const language = locale?.split("-")[0];
  if (!language || language === "en") return;
  [texts, lines] = [await read(`texts/${language}.json`), patterns(await read(`status/${language}.json`))];
}

async function read(file) {
  try {
    const answer = await fetch(new URL(file, import.meta.url));
    return answer.ok ? await answer.json() : {};
  } catch {
    return {}; // offline, or a language without translations
  }
}

/** Return the patterns of templates with gaps, such as {"codes {0}": "编码 {0}"}; those with more words first. */
function patterns(templates) {
  const words = ([template]) => template.replace(/\{\d\}/g, "").length;
  const pattern = (template) => template.replace(/[.*+?^$()|[\]\\]/g, "\\$&").replace(/\{\d\}/g, "(.*?)");
  return Object.entries(templates)
    .sort((a, b) => words(b) - words(a))
    .map(([template, translation]) => [new RegExp(`^${pattern(template)}$`), translation]);
}

/** Return the translation of a text, or the text itself if there is none. */
export function said(text) {
  return texts[text] ?? text;
}

/** Return the translation of a line on a node, part by part. Parts without a translation, such as names, stay. */
export function saidOnNode(line) {
  return line.split(SEPARATOR).map(part).join(SEPARATOR);
}

function part(text) {
  for (const [pattern, translation] of lines) {
    const values = pattern.exec(text)?.slice(1);
    if (values) return translation.replace(/\{(\d)\}/g, (_, number) => part(values[number]));
  }
  return text;
}
