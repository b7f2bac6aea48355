// What OpenAI's client for Node must find; told as JSON, like checks.py.
//   node checks.mjs CLIENT_HOME BASE_URL SOUND KEY [request_id]
import assert from "node:assert/strict";
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [home, url, sound, key, ...expects] = process.argv.slice(2);
const found = createRequire(path.join(home, "package.json")).resolve("openai");
const { OpenAI, toFile } = await import(pathToFileURL(found).href);
const { VERSION } = createRequire(path.join(home, "package.json"))("openai/version");
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, timeout: 60_000 });
const LARGE = 26_214_401;
const TEXT = ["old", "house", "listens", "sea", "whispers"];

function heard(text) {
  const missing = TEXT.filter((word) => !text.toLowerCase().includes(word));
  assert.ok(missing.length <= 1, `${missing} not in ${text}`);
}

function create(given = {}) {
  const file = given.file ?? fs.createReadStream(sound);
  return client.audio.transcriptions.create({ model: "whisper-1", ...given, file });
}

async function refused(status, name, promise) {
  const error = await promise.then(() => assert.fail(`${name} was expected`), (e) => e);
  assert.ok(error instanceof OpenAI[name], `${error}`);
  assert.equal(error.status, status);
  assert.ok(error.type && error.error.message, JSON.stringify(error.error));
  if (expects.includes("request_id")) assert.ok(error.requestID);
  return error;
}

async function all(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

const CHECKS = {
  async check_01_json() {
    heard((await create()).text);
  },
  async check_02_six_formats() {
    const text = await create({ response_format: "text" });
    assert.ok(text.endsWith("\n"));
    heard(text);
    assert.ok((await create({ response_format: "srt" })).startsWith("1\n00:00:0"));
    assert.ok((await create({ response_format: "vtt" })).startsWith("WEBVTT\n\n"));
    const verbose = await create({ response_format: "verbose_json" });
    assert.equal(verbose.language, "english");
    assert.equal(typeof verbose.duration, "number");
    for (const name of ["id", "seek", "start", "end", "temperature", "avg_logprob", "compression_ratio", "no_speech_prob"])
      assert.equal(typeof verbose.segments[0][name], "number", name);
    const model = "gpt-4o-transcribe-diarize";
    const diarized = await create({ model, response_format: "diarized_json", chunking_strategy: "auto" });
    assert.equal(diarized.segments[0].speaker, "A");
  },
  async check_03_granularities() {
    for (const asked of [["segment"], ["word"], ["word", "segment"]]) {
      const got = await create({ response_format: "verbose_json", timestamp_granularities: asked });
      assert.equal(got.words !== undefined, asked.includes("word"));
      assert.equal(got.segments !== undefined, asked.includes("segment"));
    }
    await refused(400, "BadRequestError", create({ response_format: "json", timestamp_granularities: ["word"] }));
  },
  async check_04_stream() {
    const events = await all(await create({ model: "gpt-4o-transcribe", stream: true, include: ["logprobs"] }));
    const deltas = events.filter((e) => e.type === "transcript.text.delta").map((e) => e.delta);
    const done = events.filter((e) => e.type === "transcript.text.done");
    assert.equal(done.length, 1);
    assert.equal(done[0].text, deltas.join(""));
    assert.ok(done[0].logprobs.length > 5);
    assert.equal(done[0].usage.type, "tokens");
  },
  async check_05_logprobs() {
    const got = await create({ model: "gpt-4o-transcribe", include: ["logprobs"] });
    const said = Buffer.from(got.logprobs.flatMap((p) => p.bytes)).toString("utf8");
    assert.equal(said.trim(), got.text);
  },
  async check_06_chunking() {
    heard((await create({ chunking_strategy: "auto" })).text);
    heard((await create({ chunking_strategy: { type: "server_vad", silence_duration_ms: 300 } })).text);
  },
  async check_07_keywords_and_languages() {
    const got = await create({ model: "gpt-transcribe", keywords: ["Sottovoce"], languages: ["en", "de"] });
    heard(got.text);
    assert.equal(got.languages[0].code, "en");
  },
  async check_08_known_speakers() {
    const reference = "data:audio/ogg;base64," + fs.readFileSync(sound).toString("base64");
    const known = { known_speaker_names: ["Ada"], known_speaker_references: [reference] };
    const format = { model: "gpt-4o-transcribe-diarize", response_format: "diarized_json" };
    const got = await create({ ...format, ...known, chunking_strategy: "auto" });
    assert.deepEqual([...new Set(got.segments.map((s) => s.speaker))], ["Ada"]);
  },
  async check_09_bytes_without_a_name() {
    heard((await create({ file: await toFile(fs.readFileSync(sound), "blob") })).text);
  },
  async check_10_wrong_key() {
    const stranger = new OpenAI({ baseURL: `${url}/v1`, apiKey: "sk-of-somebody-else-who-has-none" });
    const error = await refused(401, "AuthenticationError", stranger.models.list());
    assert.equal(error.code, "invalid_api_key");
  },
  async check_11_unknown_model() {
    const error = await refused(404, "NotFoundError", create({ model: "no-such-model" }));
    assert.equal(error.code, "model_not_found");
    assert.equal(error.param, "model");
  },
  async check_12_no_sound() {
    for (const bytes of ["", "this is no sound"]) {
      const file = await toFile(Buffer.from(bytes), "a.wav");
      assert.equal((await refused(400, "BadRequestError", create({ file }))).param, "file");
    }
  },
  async check_13_too_large() {
    const file = await toFile(Buffer.alloc(LARGE), "a.wav");
    await refused(413, "APIError", create({ file }));
  },
  async check_14_raw_response() {
    const { data, response } = await create().withResponse();
    heard(data.text);
    assert.equal(response.headers.get("content-type"), "application/json");
    if (expects.includes("request_id")) assert.ok(response.headers.get("x-request-id"));
  },
  async check_17_translations() {
    const file = () => fs.createReadStream(sound);
    const got = await client.audio.translations.create({ model: "whisper-1", file: file(), response_format: "verbose_json" });
    assert.equal(got.language, "english");
  },
  async check_22_models() {
    const ids = (await all(await client.models.list())).map((m) => m.id);
    assert.ok(ids.includes("whisper-1") && ids.includes("tiny"));
    assert.equal((await client.models.retrieve("whisper-1")).id, "whisper-1");
    await refused(404, "NotFoundError", client.models.retrieve("org/no-such-model"));
  },
};

const told = { client: `node ${VERSION}` };
for (const [name, check] of Object.entries(CHECKS)) {
  try {
    await check();
    told[name] = "ok";
  } catch (error) {
    told[name] = error.stack;
  }
}
console.log(JSON.stringify(told));
