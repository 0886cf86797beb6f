//! What is to be known of each language, as data: the kinds of its grammar's nodes.

use ibid_core::CodeLanguage;
use tree_sitter::Language;
use tree_sitter_language::LanguageFn;

/// A language.
pub(super) struct Grammar {
    pub(super) language: LanguageFn,
    /// What has a name that its content stands under.
    pub(super) items: &'static [(&'static str, Item)],
    /// What says which other files are used.
    pub(super) imports: &'static [&'static str],
    /// What stands before a thing and belongs to it: comments, attributes, decorators.
    pub(super) leads: &'static [&'static str],
    /// What holds an item, and begins and ends with it: `export`, `template <...>`.
    pub(super) wrappers: &'static [&'static str],
    /// What holds several things which stand at its own place: `#ifdef`.
    pub(super) open: &'static [&'static str],
    /// What holds statements, or entries of long data, between which it may be cut.
    pub(super) blocks: &'static [&'static str],
    /// What is text at a file's start, and the kind of its first child.
    pub(super) prose: Option<(&'static str, &'static str)>,
}

/// How an item is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item {
    pub(super) name: Name,
    /// The field that holds its members, each a piece of its own under its name. Without one the item stays whole.
    pub(super) members: Option<&'static str>,
}

/// Where an item's name is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Name {
    /// In a field.
    Field(&'static str),
    /// In its first child of a kind.
    Child(&'static str),
    /// Within C's declarators.
    Declarator,
    /// Rust's `impl`: the type's, or `Trait for Type`.
    Impl,
    /// In the field `name`, under the type of the field `receiver`.
    Receiver,
}

const fn whole(name: Name) -> Item {
    Item { name, members: None }
}

const fn holds(name: Name, members: &'static str) -> Item {
    Item { name, members: Some(members) }
}

const WHOLE: Item = whole(Name::Field("name"));
const HOLDS: Item = holds(Name::Field("name"), "body");

/// The language's grammar.
pub(super) fn of(language: CodeLanguage) -> &'static Grammar {
    match language {
        CodeLanguage::Rust => &RUST,
        CodeLanguage::Python => &PYTHON,
        CodeLanguage::TypeScript => &TYPESCRIPT,
        CodeLanguage::Tsx => &TSX,
        CodeLanguage::JavaScript => &JAVASCRIPT,
        CodeLanguage::Go => &GO,
        CodeLanguage::Java => &JAVA,
        CodeLanguage::C => &C,
        CodeLanguage::Cpp => &CPP,
        CodeLanguage::Sql => &SQL,
        CodeLanguage::Shell => &SHELL,
    }
}

static RUST: Grammar = Grammar {
    language: tree_sitter_rust::LANGUAGE,
    items: &[
        ("mod_item", HOLDS),
        ("trait_item", HOLDS),
        ("impl_item", holds(Name::Impl, "body")),
        ("struct_item", WHOLE),
        ("enum_item", WHOLE),
        ("union_item", WHOLE),
        ("type_item", WHOLE),
        ("function_item", WHOLE),
        ("function_signature_item", WHOLE),
        ("macro_definition", WHOLE),
        ("const_item", WHOLE),
        ("static_item", WHOLE),
    ],
    imports: &["use_declaration", "extern_crate_declaration"],
    leads: &["line_comment", "block_comment", "attribute_item", "shebang"],
    wrappers: &[],
    open: &["foreign_mod_item", "declaration_list"],
    blocks: &[
        "block",
        "declaration_list",
        "field_declaration_list",
        "enum_variant_list",
        "match_block",
        "array_expression",
        "field_initializer_list",
    ],
    prose: None,
};

static PYTHON: Grammar = Grammar {
    language: tree_sitter_python::LANGUAGE,
    items: &[("class_definition", HOLDS), ("function_definition", WHOLE), ("assignment", whole(Name::Field("left")))],
    imports: &["import_statement", "import_from_statement", "future_import_statement"],
    leads: &["comment"],
    wrappers: &["decorated_definition", "expression_statement"],
    open: &[],
    blocks: &["block", "dictionary", "list", "set", "tuple"],
    prose: Some(("expression_statement", "string")),
};

static JAVASCRIPT: Grammar = Grammar {
    language: tree_sitter_javascript::LANGUAGE,
    items: &[
        ("class_declaration", HOLDS),
        ("function_declaration", WHOLE),
        ("generator_function_declaration", WHOLE),
        ("method_definition", WHOLE),
        ("field_definition", whole(Name::Field("property"))),
        ("variable_declarator", WHOLE),
        ("assignment_expression", whole(Name::Field("left"))),
    ],
    imports: &["import_statement"],
    leads: &["comment", "html_comment", "hash_bang_line", "decorator"],
    wrappers: &["export_statement", "lexical_declaration", "variable_declaration", "expression_statement"],
    open: &[],
    blocks: &["statement_block", "class_body", "switch_body", "object", "array"],
    prose: None,
};

static TYPESCRIPT: Grammar = Grammar {
    language: tree_sitter_typescript::LANGUAGE_TYPESCRIPT,
    items: &[
        ("class_declaration", HOLDS),
        ("abstract_class_declaration", HOLDS),
        ("internal_module", HOLDS),
        ("module", HOLDS),
        ("interface_declaration", WHOLE),
        ("enum_declaration", WHOLE),
        ("type_alias_declaration", WHOLE),
        ("function_declaration", WHOLE),
        ("function_signature", WHOLE),
        ("generator_function_declaration", WHOLE),
        ("method_definition", WHOLE),
        ("method_signature", WHOLE),
        ("abstract_method_signature", WHOLE),
        ("public_field_definition", WHOLE),
        ("variable_declarator", WHOLE),
        ("assignment_expression", whole(Name::Field("left"))),
    ],
    imports: &["import_statement", "import_alias"],
    leads: &["comment", "html_comment", "hash_bang_line", "decorator"],
    wrappers: &[
        "export_statement",
        "ambient_declaration",
        "lexical_declaration",
        "variable_declaration",
        "expression_statement",
    ],
    open: &[],
    blocks: &[
        "statement_block",
        "class_body",
        "switch_body",
        "object",
        "array",
        "interface_body",
        "object_type",
        "enum_body",
    ],
    prose: None,
};

static TSX: Grammar = Grammar { language: tree_sitter_typescript::LANGUAGE_TSX, ..TYPESCRIPT };

static GO: Grammar = Grammar {
    language: tree_sitter_go::LANGUAGE,
    items: &[
        ("function_declaration", WHOLE),
        ("method_declaration", whole(Name::Receiver)),
        ("type_spec", WHOLE),
        ("type_alias", WHOLE),
        ("const_spec", WHOLE),
        ("var_spec", WHOLE),
    ],
    imports: &["package_clause", "import_declaration"],
    leads: &["comment"],
    wrappers: &[],
    open: &["type_declaration", "const_declaration", "var_declaration", "var_spec_list"],
    blocks: &["statement_list", "field_declaration_list", "interface_type", "literal_value"],
    prose: None,
};

static JAVA: Grammar = Grammar {
    language: tree_sitter_java::LANGUAGE,
    items: &[
        ("class_declaration", HOLDS),
        ("interface_declaration", HOLDS),
        ("enum_declaration", HOLDS),
        ("record_declaration", HOLDS),
        ("annotation_type_declaration", HOLDS),
        ("method_declaration", WHOLE),
        ("constructor_declaration", WHOLE),
        ("compact_constructor_declaration", WHOLE),
        ("field_declaration", whole(Name::Declarator)),
        ("module_declaration", WHOLE),
    ],
    imports: &["package_declaration", "import_declaration"],
    leads: &["line_comment", "block_comment"],
    wrappers: &[],
    open: &["enum_body_declarations"],
    blocks: &[
        "block",
        "constructor_body",
        "class_body",
        "switch_block",
        "switch_block_statement_group",
        "array_initializer",
    ],
    prose: None,
};

static C: Grammar = Grammar {
    language: tree_sitter_c::LANGUAGE,
    items: &[
        ("function_definition", whole(Name::Declarator)),
        ("declaration", whole(Name::Declarator)),
        ("type_definition", whole(Name::Declarator)),
        ("struct_specifier", WHOLE),
        ("union_specifier", WHOLE),
        ("enum_specifier", WHOLE),
        ("preproc_def", WHOLE),
        ("preproc_function_def", WHOLE),
    ],
    imports: &["preproc_include"],
    leads: &["comment"],
    wrappers: &[],
    open: &[
        "preproc_if",
        "preproc_ifdef",
        "preproc_else",
        "preproc_elif",
        "preproc_elifdef",
        "linkage_specification",
        "declaration_list",
    ],
    blocks: &["compound_statement", "case_statement", "field_declaration_list", "enumerator_list", "initializer_list"],
    prose: None,
};

static CPP: Grammar = Grammar {
    language: tree_sitter_cpp::LANGUAGE,
    items: &[
        ("namespace_definition", HOLDS),
        ("class_specifier", HOLDS),
        ("struct_specifier", HOLDS),
        ("union_specifier", WHOLE),
        ("enum_specifier", WHOLE),
        ("function_definition", whole(Name::Declarator)),
        ("declaration", whole(Name::Declarator)),
        ("field_declaration", whole(Name::Declarator)),
        ("type_definition", whole(Name::Declarator)),
        ("alias_declaration", WHOLE),
        ("concept_definition", WHOLE),
        ("preproc_def", WHOLE),
        ("preproc_function_def", WHOLE),
    ],
    imports: &["preproc_include"],
    leads: &["comment"],
    wrappers: &["template_declaration"],
    open: &[
        "preproc_if",
        "preproc_ifdef",
        "preproc_else",
        "preproc_elif",
        "preproc_elifdef",
        "linkage_specification",
        "declaration_list",
        "access_specifier",
    ],
    blocks: &["compound_statement", "case_statement", "field_declaration_list", "enumerator_list", "initializer_list"],
    prose: None,
};

const OBJECT: Item = whole(Name::Child("object_reference"));

static SQL: Grammar = Grammar {
    language: tree_sitter_sequel::LANGUAGE,
    items: &[
        ("create_table", OBJECT),
        ("create_view", OBJECT),
        ("create_materialized_view", OBJECT),
        ("create_function", OBJECT),
        ("create_trigger", OBJECT),
        ("create_type", OBJECT),
        ("create_sequence", OBJECT),
        ("alter_table", OBJECT),
        ("alter_view", OBJECT),
        ("create_index", whole(Name::Field("column"))),
    ],
    imports: &[],
    leads: &["comment", "marginalia"],
    wrappers: &["statement"],
    open: &["transaction"],
    blocks: &["column_definitions", "block", "function_body", "insert", "select_expression"],
    prose: None,
};

static SHELL: Grammar = Grammar {
    language: tree_sitter_bash::LANGUAGE,
    items: &[("function_definition", WHOLE)],
    imports: &[],
    leads: &["comment"],
    wrappers: &[],
    open: &[],
    blocks: &[
        "compound_statement",
        "do_group",
        "if_statement",
        "else_clause",
        "elif_clause",
        "case_statement",
        "case_item",
        "subshell",
        "array",
    ],
    prose: None,
};

/// What a kind of node is among its siblings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// By its place in [`Grammar::items`].
    Item(usize),
    Import,
    Lead,
    Wrapper,
    Open,
    /// A word of SQL, where each is a kind of node.
    Keyword,
    Other,
}

/// A grammar's tables by the numbers of its kinds.
pub(super) struct Kinds {
    roles: Vec<Role>,
    is_block: Vec<bool>,
}

impl Kinds {
    pub(super) fn new(grammar: &Grammar, language: &Language) -> Kinds {
        let names = || {
            (0..language.node_kind_count()).map(|kind| {
                let kind = u16::try_from(kind).expect("a grammar has few kinds");
                language.node_kind_for_id(kind).filter(|_| language.node_kind_is_named(kind)).unwrap_or_default()
            })
        };
        let role = |name: &str| {
            if let Some(item) = grammar.items.iter().position(|(kind, _)| *kind == name) {
                return Role::Item(item);
            }
            let tables = [
                (grammar.imports, Role::Import),
                (grammar.leads, Role::Lead),
                (grammar.wrappers, Role::Wrapper),
                (grammar.open, Role::Open),
            ];
            let rest = if name.starts_with("keyword_") { Role::Keyword } else { Role::Other };
            tables.into_iter().find(|(kinds, _)| kinds.contains(&name)).map_or(rest, |(_, role)| role)
        };
        Kinds {
            roles: names().map(role).collect(),
            is_block: names().map(|name| grammar.blocks.contains(&name)).collect(),
        }
    }

    /// Of a kind; of what could not be parsed as well.
    pub(super) fn role(&self, kind: u16) -> Role {
        self.roles.get(usize::from(kind)).copied().unwrap_or(Role::Other)
    }

    pub(super) fn is_block(&self, kind: u16) -> bool {
        self.is_block.get(usize::from(kind)).copied().unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_field_of_the_tables_is_one_of_the_grammar() {
        for media in ibid_core::MediaType::ALL {
            let ibid_core::MediaType::Code(language) = media else { continue };
            let grammar = of(language);
            let parser: Language = grammar.language.into();
            let kinds = [grammar.imports, grammar.leads, grammar.wrappers, grammar.open, grammar.blocks].concat();
            let kinds = kinds.into_iter().chain(grammar.items.iter().map(|(kind, _)| *kind));
            for kind in kinds.chain(grammar.prose.into_iter().flat_map(|(kind, child)| [kind, child])) {
                assert_ne!(parser.id_for_node_kind(kind, true), 0, "{language:?} has no {kind}");
            }
            for (_, item) in grammar.items {
                let field = if let Name::Field(field) = item.name { Some(field) } else { None };
                for field in field.into_iter().chain(item.members) {
                    assert!(parser.field_id_for_name(field).is_some(), "{language:?} has no field {field}");
                }
            }
        }
    }
}
