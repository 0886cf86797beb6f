//! Every setting, once.

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its key: in the file `listen` of the table `[server]`, as a flag `server.listen`.
    pub key: &'static str,
    /// Its environment variable.
    pub variable: &'static str,
    /// Its value where nobody sets it.
    pub default: &'static str,
    /// Unit, range and reason.
    pub about: &'static str,
}

/// All settings but the `[[generator]]` tables, which only a file has. Each has a `name` and either `base_url`, `model`
/// and, where the provider wants a key, `api_key_env`, the variable that holds it; or `gguf`, the model's file, and, where
/// it shall not always choose the likeliest word, `temperature` (0 to 2), `top_p` (above 0 to 1; 1) and `seed` (0).
pub const SETTINGS: &[Setting] = &[
    Setting {
        key: "data_dir",
        variable: "IBID_DATA_DIR",
        default: "./ibid-data",
        about: "the folder that holds everything; one server has it open at a time",
    },
    Setting {
        key: "server.listen",
        variable: "IBID_LISTEN",
        default: "127.0.0.1:7420",
        about: "address and port; port 0: any that is free; not on this machine alone only with TLS, since keys travel in it",
    },
    Setting {
        key: "server.tls_cert",
        variable: "IBID_TLS_CERT",
        default: "",
        about: "PEM file of the certificate chain; empty: no TLS",
    },
    Setting {
        key: "server.tls_key",
        variable: "IBID_TLS_KEY",
        default: "",
        about: "PEM file of the certificate's private key",
    },
    Setting {
        key: "limits.document_bytes_max",
        variable: "IBID_DOCUMENT_BYTES_MAX",
        default: "33554432",
        about: "longest document in bytes, 1 KiB to 64 MiB; one document is held in memory while it is cut",
    },
    Setting {
        key: "limits.pending_documents_max",
        variable: "IBID_PENDING_DOCUMENTS_MAX",
        default: "10000",
        about: "documents that may wait to be indexed, 1 to 10,000,000; beyond it puts are refused with a hint to retry",
    },
    Setting {
        key: "limits.upload_bytes_max",
        variable: "IBID_UPLOAD_BYTES_MAX",
        default: "268435456",
        about: "bytes of documents, with their headers, that all uploads together hold in memory, from 1 MiB; beyond it documents are refused with a hint to retry",
    },
    Setting {
        key: "ledger.erase_within_s",
        variable: "IBID_ERASE_WITHIN_S",
        default: "3600",
        about: "seconds until the bytes of something deleted have left the log, 1 to 2,592,000; `ibid compact` does it at once",
    },
    Setting {
        key: "ledger.retain_revisions_s",
        variable: "IBID_RETAIN_REVISIONS_S",
        default: "0",
        about: "seconds that a replaced revision is kept, so that searches and citations may name a past generation, to 31,536,000; it takes its room in the log meanwhile; 0: none is",
    },
    Setting {
        key: "ledger.master_key_file",
        variable: "IBID_MASTER_KEY_FILE",
        default: "",
        about: "file with 64 hexadecimal digits, as `openssl rand -hex 32` makes them: the log and snapshots are encrypted from then on, and the data folder opens with this key alone; or the key itself in IBID_MASTER_KEY; empty: nothing is encrypted",
    },
    Setting {
        key: "snapshots.target",
        variable: "IBID_SNAPSHOTS_TARGET",
        default: "",
        about: "where snapshots are kept: a folder, file:///folder, or s3://bucket/prefix with the usual AWS_ variables; empty: nowhere",
    },
    Setting {
        key: "compute.threads",
        variable: "IBID_COMPUTE_THREADS",
        default: "0",
        about: "threads for models and indexes, at most 1,024; 0: one a core",
    },
    Setting {
        key: "compute.jobs_max",
        variable: "IBID_COMPUTE_JOBS_MAX",
        default: "4096",
        about: "jobs that may wait for those threads, 16 to 1,000,000; beyond it requests are refused with a hint to retry",
    },
    Setting {
        key: "models.roots",
        variable: "IBID_MODELS",
        default: "",
        about: "folders of models, separated by ':'; looked through before the data folder's, the program's and the build's own",
    },
    Setting {
        key: "models.embedder",
        variable: "IBID_EMBEDDER",
        default: "all-MiniLM-L6-v2-int8",
        about: "embedder of collections that name none; the one that comes with the program",
    },
    Setting {
        key: "models.embedders",
        variable: "IBID_EMBEDDERS",
        default: "",
        about: "embedders that collections may name besides, separated by ','; each is loaded at the start and kept in memory",
    },
    Setting {
        key: "models.reranker",
        variable: "IBID_RERANKER",
        default: "rerank-minilm-l6-int8",
        about: "cross-encoder that has the last word; the one that comes with the program",
    },
    Setting {
        key: "models.reranker_small",
        variable: "IBID_RERANKER_SMALL",
        default: "rerank-minilm-l2-h128-int8",
        about: "cross-encoder that chooses which candidates the other one scores, where that one lacks the time for 20; empty: none",
    },
    Setting {
        key: "models.device",
        variable: "IBID_DEVICE",
        default: "cpu",
        about: "what models compute on: cpu, cuda:0 (or another number) or metal; the GPUs need a build with that feature",
    },
    Setting {
        key: "models.numbers",
        variable: "IBID_NUMBERS",
        default: "auto",
        about: "what encoders on the cpu compute in: f32, int8, or auto: int8 where the processor has instructions for it",
    },
    Setting {
        key: "models.batch_tokens_max",
        variable: "IBID_BATCH_TOKENS_MAX",
        default: "256",
        about: "tokens a thread takes in one forward pass, 64 to 1,048,576; a question waits for a fraction of a document's pass",
    },
    Setting {
        key: "rerank.depth",
        variable: "IBID_RERANK_DEPTH",
        default: "50",
        about: "candidates that are reranked where a request does not say, 0 to 200; the dearest part of a question",
    },
    Setting {
        key: "rerank.budget_ms",
        variable: "IBID_RERANK_BUDGET_MS",
        default: "100",
        about: "time for it in milliseconds where a request does not say, to 60,000; what is not scored by then counts as not relevant; 0: until the request's deadline",
    },
    Setting {
        key: "answer.relevance_floor",
        variable: "IBID_ANSWER_RELEVANCE_FLOOR",
        default: "",
        about: "least relevance of an answer's source, 0 to 1, by the cross-encoder; empty: any",
    },
    Setting {
        key: "answer.rerank_logit_floor",
        variable: "IBID_ANSWER_RERANK_LOGIT_FLOOR",
        default: "",
        about: "least rerank logit of an answer's source; empty: any; its scale is the reranker's own",
    },
    Setting {
        key: "answer.cosine_floor",
        variable: "IBID_ANSWER_COSINE_FLOOR",
        default: "",
        about: "least cosine of an answer's source that was not reranked, -1 to 1; empty: any",
    },
    Setting {
        key: "answer.sources_bytes_max",
        variable: "IBID_ANSWER_SOURCES_BYTES_MAX",
        default: "24000",
        about: "text of an answer's sources together in bytes, 1 KiB to 1 MiB; about four bytes make a token of the prompt",
    },
];
