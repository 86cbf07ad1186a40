//! What of a mail's text is its own, and what it quotes.

/// Lines that begin what a mail program puts under an answer, in small letters.
const SEPARATORS: [&str; 12] = [
    "original message",
    "ursprüngliche nachricht",
    "message d'origine",
    "mensaje original",
    "messaggio originale",
    "oorspronkelijk bericht",
    "mensagem original",
    "pesan asli",
    "исходное сообщение",
    "原始邮件",
    "元のメッセージ",
    "ההודעה המקורית",
];
/// What stands at the end of a line that says who wrote what is quoted, before its colon.
const WROTE: [&str; 16] = [
    "wrote",
    "schrieb",
    "a écrit",
    "escribió",
    "ha scritto",
    "schreef",
    "escreveu",
    "menulis",
    "skrev",
    "kirjoitti",
    "napisał",
    "napsal",
    "пишет",
    "написал",
    "写道",
    "כתב",
];
/// Labels of the block of headers that Outlook puts above what it quotes.
const FROM: [&str; 9] = ["from", "von", "de", "da", "dari", "van", "från", "发件人", "差出人"];
const SENT: [&str; 16] = [
    "sent",
    "date",
    "to",
    "subject",
    "gesendet",
    "datum",
    "an",
    "betreff",
    "envoyé",
    "à",
    "enviado",
    "para",
    "terkirim",
    "kepada",
    "发送时间",
    "收件人",
];
/// With these begins who wrote what is quoted, where that is broken into several lines.
const BEGINS: [&str; 12] =
    ["on ", "am ", "le ", "el ", "il ", "op ", "em ", "pada ", "den ", "dne ", "w dniu ", "在"];
/// What stands above a mail that is sent on, in small letters.
const FORWARDED: [&str; 8] = [
    "forwarded message",
    "begin forwarded message:",
    "weitergeleitete nachricht",
    "message transféré",
    "mensaje reenviado",
    "messaggio inoltrato",
    "pesan terusan",
    "转发的邮件",
];
/// A line of attribution may be broken into so many.
const ATTRIBUTION_LINES: usize = 4;

/// The part of a text that its author wrote; `None` where that is all of it, or nothing is left. What
/// is sent on was not there before: it is no quote.
pub(super) fn visible(text: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut kept: Vec<&str> = Vec::with_capacity(lines.len());
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        if is_ruled(line, &FORWARDED) {
            return None;
        }
        if is_ruled(line, &SEPARATORS) && line.trim().starts_with("--")
            || is_header_block(&lines[at..])
        {
            break;
        }
        if let Some(behind) = attribution(&lines[at..]) {
            let is_quote = lines[at + behind..].iter().find(|line| !line.trim().is_empty());
            if is_quote.is_none_or(|line| !is_quoted(line)) {
                // All that follows is quoted, without a mark.
                break;
            }
            at += behind;
            continue;
        }
        if !is_quoted(line) {
            kept.push(line);
        }
        at += 1;
    }
    let kept = kept.join("\n");
    let kept = kept.trim();
    (!kept.is_empty() && kept != text.trim()).then(|| kept.to_owned())
}

fn is_quoted(line: &str) -> bool {
    line.trim_start().starts_with('>')
}

/// Whether a line says one of these, ruled or not.
fn is_ruled(line: &str, known: &[&str]) -> bool {
    line.len() < 128 && {
        let words = line.trim().trim_matches(['-', '_', '*', ' ']).to_lowercase();
        known.contains(&&*words)
    }
}

/// How many lines say who wrote what follows, from the first on.
fn attribution(lines: &[&str]) -> Option<usize> {
    let first = lines.first()?.trim();
    if first.is_empty() || is_quoted(first) {
        return None;
    }
    let begins = || {
        let first = first.to_lowercase();
        BEGINS.iter().any(|known| first.starts_with(known))
    };
    let most = if begins() { ATTRIBUTION_LINES } else { 1 };
    for (n, line) in lines.iter().take(most).enumerate() {
        let line = line.trim();
        if line.is_empty() || is_quoted(line) || line.len() > 400 {
            return None;
        }
        if let Some(before) = line.strip_suffix([':', '：']) {
            let whole: String = lines[..=n].join(" ");
            // A person says "she wrote:", too: who is quoted has an address, or a time, or a quote.
            let mut behind = lines[n + 1..].iter();
            let is_named =
                behind.find(|line| !line.trim().is_empty()).is_some_and(|l| is_quoted(l))
                    || whole.contains('@')
                    || whole.chars().any(|c| c.is_ascii_digit());
            let before = before.trim_end().to_lowercase();
            // Some languages put the name behind.
            let wrote = WROTE.iter().any(|word| before.ends_with(word))
                || WROTE.iter().any(|word| before.contains(&format!(" {word} ")));
            return (wrote && is_named).then_some(n + 1);
        }
    }
    None
}

fn label(line: &str) -> Option<String> {
    let line = line.trim().trim_start_matches('*');
    let (label, _) = line.split_once([':', '：'])?;
    (label.len() < 40).then(|| label.trim_matches(['*', ' ']).to_lowercase())
}

fn is_header_block(lines: &[&str]) -> bool {
    let is = |line: &&str, labels: &[&str]| label(line).is_some_and(|l| labels.contains(&&*l));
    let mut lines = lines.iter();
    lines.next().is_some_and(|first| is(first, &FROM))
        && lines.take(3).filter(|line| is(line, &SENT)).count() >= 2
}

#[cfg(test)]
mod tests {
    use super::visible;

    fn shown(text: &str) -> String {
        visible(text).expect("something is quoted")
    }

    #[test]
    fn an_answer_above_what_it_quotes_is_shown_alone() {
        for quoted in [
            "On Tue, 3 Mar 2026 at 10:00, Shop <shop@example.com> wrote:\n> Sent.\n>\n> Bye",
            "On Tue, 3 Mar 2026 at 10:00, Shop\n<shop@example.com> wrote:\n\n> Sent.",
            "Am 03.03.26 um 10:00 schrieb Shop:\n> Verschickt.",
            "Le 3 mars 2026 à 10:00, Shop <shop@example.com> a écrit :\n> Parti.",
            "Pada 3 Mar 2026 10.00, Shop <shop@example.com> menulis:\n> Terkirim.",
            "-----Original Message-----\nFrom: Shop\nSent.",
            "---- Ursprüngliche Nachricht ----\nVon: Shop\nVerschickt.",
            "From: Shop <shop@example.com>\nSent: Tuesday\nTo: Mei\nSubject: Order\n\nSent.",
            "*Von:* Shop\n*Gesendet:* Dienstag\n*An:* Mei\n*Betreff:* X\n\nVerschickt.",
            "在 2026年3月3日，Shop <shop@example.com> 写道：\n> 已发送",
            "> Sent.\n> Bye",
        ] {
            assert_eq!(shown(&format!("Thank you!\n\n{quoted}\n")), "Thank you!", "{quoted}");
        }
    }

    #[test]
    fn an_answer_below_or_between_is_shown_without_what_it_quotes() {
        let below = "On 3 Mar 2026, Shop wrote:\n> Where to?\n\nTo my house.\n";
        assert_eq!(shown(below), "To my house.");
        assert_eq!(shown("> Red?\nYes.\n> Large?\nNo."), "Yes.\nNo.");
    }

    #[test]
    fn who_wrote_needs_no_time_where_a_quote_follows() {
        assert_eq!(shown("Brown.\n\nOn Monday, Shop wrote:\n> Which?"), "Brown.");
    }

    #[test]
    fn what_stands_right_above_who_wrote_is_kept() {
        assert_eq!(shown("Brown, size 4\nOn 3 Mar 2026, Shop wrote:\n> Which?"), "Brown, size 4");
    }

    #[test]
    fn a_text_that_quotes_nothing_is_all_shown() {
        for text in [
            "Hello",
            "",
            "She wrote:\nplease",
            "From: my point of view\nall is well",
            "a > b",
            "I paid 3 times, and your colleague wrote: nothing",
        ] {
            assert_eq!(visible(text), None, "{text}");
        }
    }

    #[test]
    fn a_mail_that_only_quotes_or_forwards_is_all_shown() {
        assert_eq!(visible("> Sent.\n> Bye"), None);
        let forwarded = "---------- Forwarded message ---------\nFrom: A\nDate: B\nSubject: C\n\nD";
        assert_eq!(visible(forwarded), None);
        assert_eq!(visible(&format!("See below.\n\n{forwarded}")), None, "it was not there before");
    }

    #[test]
    fn many_lines_take_no_longer_than_their_number_says() {
        let text = "x 1\n".repeat(200_000);
        assert_eq!(visible(&text), None);
    }
}
