//! What the simulated customers say, and what they are called.

/// People of one language.
#[derive(Debug)]
pub(crate) struct Language {
    pub(crate) first_names: &'static [&'static str],
    pub(crate) last_names: &'static [&'static str],
    /// What they say when nobody answers.
    pub(crate) nudges: &'static [&'static str],
    pub(crate) talks: &'static [Talk],
}

/// One matter, told to the end.
#[derive(Debug)]
pub(crate) struct Talk {
    /// Written in one go.
    pub(crate) opening: &'static [&'static str],
    /// One after each answer.
    pub(crate) then: &'static [&'static str],
}

pub(crate) const LANGUAGES: &[Language] = &[
    Language {
        first_names: &["Grace", "Oliver", "Priya", "Daniel", "Chloe", "Marcus", "Hannah", "Samuel"],
        last_names: &["Whitaker", "Okafor", "Bennett", "Sharma", "Doyle", "Lindqvist", "Carver"],
        nudges: &["Hello? Is anyone there?", "Just checking whether you saw my message 🙂"],
        talks: &[
            Talk {
                opening: &[
                    "Hi there",
                    "my parcel was meant to come on Tuesday",
                    "the tracking page hasn't changed since the weekend 😕",
                ],
                then: &[
                    "It's order 48213, on the name I write with",
                    "Leaving it with the neighbours at number 9 is fine",
                    "Lovely, thanks for sorting that out so quickly!",
                ],
            },
            Talk {
                opening: &["Do you still have the green armchair in the shop?"],
                then: &[
                    "Great. Could you put one aside until Saturday?",
                    "Around eleven, I'd bring the van",
                    "Perfect, see you then 👋",
                ],
            },
            Talk {
                opening: &["Good morning", "I was charged twice for my subscription this month"],
                then: &[
                    "The card ending in 4471, both on the 3rd",
                    "How long does the refund take?",
                    "OK, I'll keep an eye on it. Thank you",
                ],
            },
            Talk {
                opening: &["Hey, the kettle I bought last week switches off after ten seconds"],
                then: &[
                    "Yes, I tried another socket. Same thing",
                    "A replacement would be best, I have the receipt",
                    "Brilliant, I'll drop it off tomorrow",
                ],
            },
        ],
    },
    Language {
        first_names: &["Jürgen", "Katrin", "Söhnke", "Annika", "Thomas", "Bärbel"],
        last_names: &["Vogel", "Köhler", "Brandt", "Weiß", "Schröder"],
        nudges: &["Hallo, liest hier jemand mit?", "Können Sie mir schon etwas sagen?"],
        talks: &[
            Talk {
                opening: &["Guten Tag", "ich würde gern meinen Termin am Donnerstag verschieben"],
                then: &[
                    "Freitag nach 15 Uhr wäre ideal",
                    "Ja, 15:30 passt. Muss ich etwas mitbringen?",
                    "Vielen Dank, bis Freitag!",
                ],
            },
            Talk {
                opening: &["Die Schuhe sind leider zu klein, tauschen Sie auch um?"],
                then: &[
                    "Ich habe Größe 42 und bräuchte 43½",
                    "Getragen habe ich sie nur in der Wohnung",
                    "Super, dann schicke ich sie morgen zurück 📦",
                ],
            },
        ],
    },
    Language {
        first_names: &["Lucía", "Mateo", "Ximena", "Joaquín", "Inés", "Andrés"],
        last_names: &["Peña", "Ibáñez", "Quintero", "Muñoz", "Salcedo"],
        nudges: &["¿Hola? ¿Sigue alguien por ahí?", "¿Alguna novedad?"],
        talks: &[
            Talk {
                opening: &["¡Buenas!", "¿Hasta qué hora abren hoy?"],
                then: &[
                    "¿Y mañana, que es festivo?",
                    "Entendido, paso esta tarde entonces",
                    "¡Mil gracias! 🙌",
                ],
            },
            Talk {
                opening: &["Necesito la factura de mi última compra, por favor"],
                then: &[
                    "A nombre de la empresa, les paso el NIF: B00000000",
                    "Con que llegue esta semana me sirve",
                    "Recibida, muy amables",
                ],
            },
        ],
    },
    Language {
        first_names: &["Thaís", "João", "Conceição", "Caio"],
        last_names: &["Nogueira", "Assunção", "Prado", "Magalhães"],
        nudges: &["Oi? Tem alguém aí?"],
        talks: &[Talk {
            opening: &["Oi, tudo bem?", "o aplicativo não aceita a minha senha nova"],
            then: &[
                "Aparece \"tente mais tarde\", já faz duas horas",
                "Recebi o código agora, vou testar",
                "Funcionou! Valeu demais 😄",
            ],
        }],
    },
    Language {
        first_names: &["Hélène", "Baptiste", "Anaïs", "Loïc"],
        last_names: &["Garnier", "Lefèvre", "Besançon", "Roux"],
        nudges: &["Vous êtes toujours là ?"],
        talks: &[Talk {
            opening: &["Bonjour,", "peut-on réserver une table pour six samedi soir ?"],
            then: &[
                "Vers 20 h si possible, et une chaise haute",
                "Une personne est allergique aux noix, je préfère prévenir",
                "Parfait, merci et à samedi !",
            ],
        }],
    },
    Language {
        first_names: &["ليلى", "يوسف", "سلمى"],
        last_names: &["الخطيب", "حداد", "منصور"],
        nudges: &["مرحبا، هل من أحد هنا؟"],
        talks: &[Talk {
            opening: &["السلام عليكم", "متى يصل طلبي من فضلكم؟"],
            then: &["رقم الطلب ٥٥٢٠١", "يناسبني التسليم بعد العصر", "شكرا جزيلا 🌷"],
        }],
    },
    Language {
        first_names: &["अनन्या", "रोहन", "कविता"],
        last_names: &["वर्मा", "जोशी", "नायर"],
        nudges: &["नमस्ते, कोई है?"],
        talks: &[Talk {
            opening: &["नमस्ते", "क्या इस फ़ोन पर वारंटी मिलती है?"],
            then: &["मैंने इसे पिछले महीने लिया था", "बिल मेरे पास है, अभी भेजती हूँ", "बहुत धन्यवाद 🙏"],
        }],
    },
    Language {
        first_names: &["さくら", "健太", "美咲"],
        last_names: &["山本", "小林", "渡辺"],
        nudges: &["お忙しいところすみません、いかがでしょうか"],
        talks: &[Talk {
            opening: &["こんにちは", "予約の人数を変更できますか"],
            then: &[
                "四人から五人にお願いします",
                "はい、時間はそのままで大丈夫です",
                "ありがとうございます！",
            ],
        }],
    },
];
