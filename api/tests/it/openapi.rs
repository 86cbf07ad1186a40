//! The document says of every row what it must, and leads nowhere else.

use std::collections::BTreeSet;

use api::routes::all;
use serde_json::Value;

#[test]
fn every_row_is_in_the_document_with_a_summary_a_tag_and_a_name_of_its_own() {
    let document = api::openapi::document();
    let mut names = BTreeSet::new();
    for row in all() {
        let operation = &document["paths"][row.path][row.verb.as_str().to_lowercase()];
        let what = format!("{} {}", row.verb, row.path);
        assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{what}");
        let tag = &operation["tags"][0];
        assert!(document["tags"].as_array().unwrap().iter().any(|known| known["name"] == *tag));
        assert!(names.insert(operation["operationId"].as_str().unwrap().to_owned()), "{what}");
        assert!(operation["responses"][row.status.to_string()].is_object(), "{what}");
        let takes = row.body.is_some() || row.form.is_some();
        assert_eq!(operation["requestBody"].is_object(), takes, "{what}");
        let parameters = operation["parameters"].as_array().unwrap();
        let in_path = parameters.iter().filter(|parameter| parameter["in"] == "path").count();
        assert_eq!(in_path, row.path.matches('{').count(), "{what}");
        for scheme in operation["security"].as_array().unwrap() {
            for name in scheme.as_object().unwrap().keys() {
                assert!(document["components"]["securitySchemes"][name].is_object(), "{what}");
            }
        }
    }
    let count =
        document["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len());
    assert_eq!(count.sum::<usize>(), names.len(), "nothing stands there that is no row");
}

#[test]
fn every_reference_leads_to_a_schema() {
    fn walk(value: &Value, document: &Value) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(to)) = fields.get("$ref") {
                    let pointer = to.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{to}");
                }
                fields.values().for_each(|value| walk(value, document));
            }
            Value::Array(items) => items.iter().for_each(|value| walk(value, document)),
            _ => {}
        }
    }
    let document = api::openapi::document();
    walk(&document, &document);
}
