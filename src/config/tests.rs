use super::*;

fn from(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ibid.toml");
    std::fs::write(&path, file).unwrap();
    Config::load(&sources(path, environment, flags))
}

fn sources(file: PathBuf, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Sources {
    let owned =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Sources { file: Some(file), environment: owned(environment), flags: owned(flags) }
}

#[track_caller]
fn refused(file: &str, expected: &str) {
    let error = from(file, &[], &[]).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn the_defaults_are_valid() {
    let config = from("", &[], &[]).unwrap();
    assert_eq!(config.data_dir, PathBuf::from("./ibid-data"));
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:7420");
    assert_eq!((config.rerank.depth, config.answer.rerank_logit_floor), (50, None));
    assert!(config.compute.threads > 0);
}

#[test]
fn the_master_key_comes_from_one_place() {
    let file = "[ledger]\nmaster_key_file = 'm'";
    assert_eq!(from(file, &[], &[]).unwrap().ledger.master_key, Some(MasterKeySource::File(PathBuf::from("m"))));
    let given = from("", &[("IBID_MASTER_KEY", "5a")], &[]).unwrap();
    assert!(matches!(given.ledger.master_key, Some(MasterKeySource::Environment(_))));
    assert!(!format!("{given:?}").contains("5a\""));
    let both = from(file, &[("IBID_MASTER_KEY", "5a")], &[]).unwrap_err().to_string();
    assert!(both.contains("ledger.master_key_file is set, and so is the variable IBID_MASTER_KEY"), "{both}");
}

#[test]
fn a_flag_goes_before_the_environment_before_the_file() {
    let file = "data_dir = 'file'\n[server]\nlisten = '127.0.0.1:1'\n[rerank]\ndepth = 5";
    let environment = [("IBID_LISTEN", "127.0.0.1:2"), ("IBID_DATA_DIR", "~/there"), ("HOME", "/home/me")];
    let config = from(file, &environment, &[("server.listen", "127.0.0.1:3")]).unwrap();
    assert_eq!(config.server.listen.port(), 3);
    assert_eq!(config.data_dir, PathBuf::from("/home/me/there"));
    assert_eq!(config.rerank.depth, 5);
}

#[test]
fn each_value_says_where_it_came_from() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ibid.toml");
    std::fs::write(&path, "data_dir = 'x'\n[[generator]]\nname = 'a'\nbase_url = 'b'\nmodel = 'c'").unwrap();
    let explained = Config::explain(&sources(path.clone(), &[("IBID_LISTEN", "[::1]:1")], &[])).unwrap();
    assert_eq!(explained.len(), SETTINGS.len() + 1);
    let origin = |key: &str| &explained.iter().find(|one| one.key == key).unwrap().origin;
    assert_eq!(*origin("data_dir"), Origin::File(path.clone()));
    assert_eq!(*origin("server.listen"), Origin::Environment("IBID_LISTEN".to_owned()));
    assert_eq!(*origin("compute.threads"), Origin::Default);
    assert_eq!(*origin("generator[0]"), Origin::File(path));
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest() {
    refused("[sever]\nlisten = 'x'", "\"sever.listen\", which is no setting; did you mean \"server.listen\"?");
    refused("data-dir = 'x'", "did you mean \"data_dir\"?");
    refused("colour = 'x'", "`ibid config` lists them all");
    refused("[[generator]]\nname = 'a'\nurl = 'x'", "generator[0].url");
    let error = from("", &[], &[("listen", "x")]).unwrap_err();
    assert!(matches!(error, ConfigError::UnknownKey { origin: Origin::Flag, .. }), "{error}");
}

#[test]
fn a_value_out_of_range_is_refused_with_the_range() {
    refused("[rerank]\ndepth = 201", "rerank.depth is \"201\", expected a whole number from 0 to 200");
    refused("[rerank]\ndepth = -1", "rerank.depth");
    refused("[rerank]\ndepth = true", "rerank.depth has the wrong type");
    refused("[answer]\ncosine_floor = 1.5", "answer.cosine_floor");
    refused("[server]\nlisten = 'localhost'", "server.listen");
    refused("[models]\nembedder = ''", "models.embedder");
    refused("[models]\ndevice = 'gpu'", "models.device is \"gpu\", expected cpu, cuda:0 (or another number) or metal");
    refused("[models]\nnumbers = 'f16'", "models.numbers is \"f16\", expected auto, f32 or int8");
    refused("[models]\nembedders = ['a', 'b c']", "models.embedders");
    refused("data_dir = ''", "data_dir");
    refused("data_dir = ", "not valid TOML");
}

#[test]
fn plain_text_stays_on_this_machine() {
    refused("[server]\nlisten = '0.0.0.0:7420'", "server.tls_cert");
    refused("[server]\ntls_cert = 'cert.pem'", "server.tls_key");
    let tls = "[server]\nlisten = '0.0.0.0:7420'\ntls_cert = 'cert.pem'\ntls_key = 'key.pem'";
    assert!(from(tls, &[], &[]).unwrap().server.tls.is_some());
    assert!(from("[server]\nlisten = '[::1]:0'", &[], &[]).is_ok());
}

#[test]
fn a_generator_takes_its_key_from_the_variable_it_names() {
    let file = "[[generator]]\nname = 'a'\nbase_url = 'http://localhost:1'\nmodel = 'm'\napi_key_env = 'SECRET'";
    let generators = from(file, &[("SECRET", "s")], &[]).unwrap().generators;
    let Runs::There { api_key, .. } = &generators[0].runs else { panic!("{generators:?}") };
    assert_eq!(*api_key, Some(Secret::new("s".to_owned())));
    refused(file, "generator[0].api_key_env names the variable SECRET, which is not set");
    refused("[[generator]]\nname = 'a'\nmodel = 'm'", "generator[0].base_url is missing");
}

#[test]
fn a_generator_runs_here_or_elsewhere() {
    let here = |rest: &str| format!("[[generator]]\nname = 'a'\ngguf = '~/m.gguf'\n{rest}");
    let generators = from(&here("temperature = 1\nseed = 7"), &[("HOME", "/h")], &[]).unwrap().generators;
    let runs = Runs::Here { gguf: PathBuf::from("/h/m.gguf"), seed: 7, temperature: Some(1.0), top_p: 1.0 };
    assert_eq!(generators, [Generator { name: "a".to_owned(), runs }]);
    refused(&here("base_url = 'b'"), "generator[0].base_url does not go with gguf");
    refused(
        "[[generator]]\nname = 'a'\nbase_url = 'b'\nmodel = 'm'\nseed = 1",
        "generator[0].seed goes with gguf only",
    );
    refused(&here("seed = -1"), "generator[0].seed is -1, expected a whole number from 0");
    refused(&here("top_p = 0"), "generator[0].top_p is 0, expected a number above 0 to 1");
    refused(&here("temperature = 'hot'"), "generator[0].temperature");
    refused(&here("sede = 1"), "did you mean \"seed\"?");
    refused("[[generator]]\nname = 'a'\ngguf = 1", "generator[0].gguf is missing or no text");
}

#[test]
fn lists_are_lists_or_texts() {
    let listed = from("[models]\nroots = ['a', '~/b']", &[("HOME", "/h")], &[]).unwrap().models.roots;
    assert_eq!(listed, [PathBuf::from("a"), PathBuf::from("/h/b")]);
    let texts = from("", &[("IBID_MODELS", "a:b")], &[]).unwrap().models.roots;
    assert_eq!(texts, [PathBuf::from("a"), PathBuf::from("b")]);
    let embedders = from("", &[("IBID_EMBEDDERS", "a/b, c")], &[]).unwrap().models.embedders;
    assert_eq!(embedders, ["a/b", "c"].map(|name| ModelId::new(name).unwrap()));
}
