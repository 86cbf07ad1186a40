//! What the simulated agents say, in the language they are written to.

use serde_json::{Value, json};

/// Lines that fit any matter.
#[derive(Debug)]
pub(super) struct Language {
    /// A script, or words and letters, that give it away.
    knows: fn(&str) -> bool,
    first: &'static [&'static str],
    next: &'static [&'static str],
    last: &'static [&'static str],
    /// Buttons under a question.
    choices: [&'static str; 2],
}

/// How far a talk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    First,
    Next,
    Last,
}

impl Language {
    /// A line for a stage; `n` chooses.
    pub(super) fn line(&self, stage: Stage, n: usize) -> &'static str {
        let lines = match stage {
            Stage::First => self.first,
            Stage::Next => self.next,
            Stage::Last => self.last,
        };
        lines[n % lines.len()]
    }

    /// A line with buttons under it, as the API takes it.
    pub(super) fn question(&self, line: &str) -> Value {
        let button = |title| json!({"type": "reply", "reply": {"id": title, "title": title}});
        let action = json!({"buttons": self.choices.map(button)});
        json!({"interactive": {"type": "button", "body": {"text": line}, "action": action}})
    }

    /// Of a text, as far as it shows.
    pub(super) fn of(text: &str) -> Option<&'static Self> {
        let text = text.to_lowercase();
        LANGUAGES.iter().find(|language| (language.knows)(&text))
    }
}

fn has_word(text: &str, wanted: &[&str]) -> bool {
    text.split(|c: char| !c.is_alphabetic()).any(|word| wanted.contains(&word))
}

fn is_in(text: &str, first: char, last: char) -> bool {
    text.chars().any(|c| (first..=last).contains(&c))
}

/// The first that fits counts; where none does, they answer in [`ENGLISH`].
const LANGUAGES: [Language; 7] = [
    Language {
        knows: |text| is_in(text, '\u{600}', '\u{6ff}'),
        first: &["أهلا وسهلا! سأتحقق من ذلك حالا", "مرحبا، دقيقة من فضلك"],
        next: &["شكرا لك، وجدته. هل من شيء آخر أحتاج معرفته؟", "تمام، سجلت ذلك"],
        last: &["بكل سرور، يومك سعيد 🌷"],
        choices: ["نعم، من فضلك", "لا، شكرا"],
    },
    Language {
        knows: |text| is_in(text, '\u{900}', '\u{97f}'),
        first: &["नमस्ते! मैं अभी देखती हूँ", "नमस्ते, कृपया एक मिनट दीजिए"],
        next: &["धन्यवाद, मुझे मिल गया। क्या कुछ और बताना चाहेंगे?", "ठीक है, मैंने लिख लिया"],
        last: &["आपका स्वागत है, शुभ दिन! 🙏"],
        choices: ["हाँ, कृपया", "नहीं, धन्यवाद"],
    },
    Language {
        knows: |text| is_in(text, '\u{3040}', '\u{30ff}') || is_in(text, '\u{4e00}', '\u{9fff}'),
        first: &["お問い合わせありがとうございます。少々お待ちください", "ただいま確認いたします"],
        next: &["かしこまりました。ほかにご希望はございますか", "承りました。確認してお返事します"],
        last: &["こちらこそ、ありがとうございました"],
        choices: ["はい、お願いします", "いいえ、大丈夫です"],
    },
    Language {
        knows: |text| {
            text.contains('ß') || has_word(text, &["ich", "sie", "guten", "hallo", "dann", "ja"])
        },
        first: &["Guten Tag! Ich sehe gleich nach.", "Hallo, einen Moment bitte, ich prüfe das."],
        next: &[
            "Danke, das hilft. Gibt es noch etwas, das ich wissen sollte?",
            "Gut, ist notiert.",
        ],
        last: &["Sehr gern! Einen schönen Tag noch."],
        choices: ["Ja, bitte", "Nein, danke"],
    },
    Language {
        knows: |text| {
            text.contains(['¡', '¿', 'ñ']) || has_word(text, &["con", "gracias", "necesito", "muy"])
        },
        first: &["¡Hola! Ahora mismo lo miro.", "Buenas, un momento y le digo."],
        next: &["Gracias, ya lo veo. ¿Algo más que deba saber?", "Perfecto, queda anotado."],
        last: &["¡A usted! Que tenga un buen día."],
        choices: ["Sí, por favor", "No, gracias"],
    },
    Language {
        knows: |text| {
            text.contains('ã') || has_word(text, &["oi", "tudo", "recebi", "funcionou", "faz"])
        },
        first: &["Oi! Já vou verificar para você.", "Olá, só um instante, por favor."],
        next: &["Obrigado, encontrei aqui. Mais alguma coisa?", "Certo, já anotei."],
        last: &["Imagina! Tenha um ótimo dia 😊"],
        choices: ["Sim, por favor", "Não, obrigado"],
    },
    Language {
        knows: |text| {
            text.contains('œ') || has_word(text, &["vous", "bonjour", "une", "merci", "vers"])
        },
        first: &[
            "Bonjour ! Je regarde cela tout de suite.",
            "Bonjour, un instant s'il vous plaît.",
        ],
        next: &["Merci, c'est noté. Autre chose à savoir ?", "Très bien, je m'en occupe."],
        last: &["Avec plaisir, bonne journée !"],
        choices: ["Oui, merci", "Non, merci"],
    },
];

/// What is answered in when nothing shows.
pub(super) const ENGLISH: Language = Language {
    knows: |_| true,
    first: &[
        "Hello! Let me have a look, one moment please.",
        "Hi, thanks for writing. I am checking this right now.",
        "Good to hear from you. Give me a minute to find it.",
    ],
    next: &[
        "Thanks, I found it. Is there anything else I should know?",
        "Understood, I have made a note of that.",
        "That works. I will arrange it for you.",
    ],
    last: &["You are welcome. Have a good day!", "Glad that is settled. Take care!"],
    choices: ["Yes, please", "No, thanks"],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_answered_in_its_own_language_and_else_in_english() {
        for (text, word) in [
            ("كيف حالكم؟", "مرحبا"),
            ("नमस्ते", "नमस्ते"),
            ("こんにちは", "確認"),
            ("Guten Tag, passt das?", "Hallo"),
            ("¿Siguen abiertos?", "momento"),
            ("Oi, bom dia", "instante"),
            ("Merci beaucoup", "instant "),
        ] {
            let line = Language::of(text).unwrap().line(Stage::First, 1);
            assert!(line.contains(word), "{text}: {line}");
        }
        assert!(Language::of("Do you deliver?").is_none());
        assert_eq!(ENGLISH.line(Stage::Last, 2), ENGLISH.line(Stage::Last, 0));
    }
}
