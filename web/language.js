/** Translate the texts of this pack's templates and scripts to the user's language. */

let texts = {}; // {English text: translation}

/** Load the translations for a locale, such as "zh" or "zh-TW"; without a file for it, texts stay English. */
export async function learnLanguage(locale) {
  const language = locale?.split("-")[0];
  if (!language || language === "en") return;
  try {
    const answer = await fetch(new URL(`texts/${language}.json`, import.meta.url));
    if (answer.ok) texts = await answer.json();
  } catch {
    // offline, or a language without translations
  }
}

/** Return the translation of a text, or the text itself if there is none. */
export function said(text) {
  return texts[text] ?? text;
}
