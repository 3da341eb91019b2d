/** What the templates and the scripts of this pack say, in the user's language. */

let texts = {}; // {English: translation}

/** Load the texts of a locale, such as "zh" or "zh-TW"; without a file for it they stay English. */
export async function learnLanguage(locale) {
  const language = locale?.split("-")[0];
  if (!language || language === "en") return;
  try {
    const answer = await fetch(new URL(`texts/${language}.json`, import.meta.url));
    if (answer.ok) texts = await answer.json();
  } catch {
    // offline, or a language that the pack does not have
  }
}

export function said(text) {
  return texts[text] ?? text;
}
