// A model of `distillfss export` on a picture, in the browser: bytes in, mask out.
import * as ort from "./vendor/ort.wasm.min.mjs";
import { metadata } from "./metadata.js";

// where the WebAssembly lies; one thread, unless the page is served so that browsers allow more
ort.env.wasm.wasmPaths = new URL("./vendor/", import.meta.url).href;
ort.env.wasm.numThreads = self.crossOriginIsolated ? navigator.hardwareConcurrency : 1;

const COLOURS = [[230, 75, 53], [0, 114, 178], [0, 158, 115], [240, 180, 0], [204, 121, 167], [86, 180, 233]];
const element = (id) => document.getElementById(id);
let session = null;
let classNames = [];
let bitmap = null;

function say(text, failed = false) {
  element("status").textContent = text;
  element("status").classList.toggle("error", failed);
}

async function useModel(buffer) {
  say("Loading the model ...");
  const about = metadata(new Uint8Array(buffer));
  if (about.format !== "distillfss-onnx") throw new Error("this is no model of distillfss export");
  classNames = JSON.parse(about.class_names);
  session = await ort.InferenceSession.create(buffer, { executionProviders: ["wasm"] });
  await segment();
}

async function usePicture(blob) {
  // upright as its EXIF data says, colours as stored: what the library reads
  bitmap = await createImageBitmap(blob, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  await segment();
}

async function segment() {
  if (!session) return say("Now choose a model.");
  if (!bitmap) return say("Now choose a picture.");
  say("Segmenting ...");
  const { width, height } = bitmap;
  const canvas = element("canvas");
  Object.assign(canvas, { width, height, hidden: false });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white"; // behind transparent pixels, as the library lays them
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  const shown = context.getImageData(0, 0, width, height);
  const rgb = new Uint8Array(width * height * 3);
  for (let i = 0, j = 0; i < shown.data.length; i += 4) {
    rgb[j++] = shown.data[i];
    rgb[j++] = shown.data[i + 1];
    rgb[j++] = shown.data[i + 2];
  }
  const started = performance.now();
  const { mask } = await session.run({ images: new ort.Tensor("uint8", rgb, [1, height, width, 3]) }, ["mask"]);
  const milliseconds = performance.now() - started;
  const counts = new Array(classNames.length + 1).fill(0);
  mask.data.forEach((value, pixel) => {
    counts[value] += 1;
    if (value === 0) return;
    const colour = COLOURS[(value - 1) % COLOURS.length];
    for (let c = 0; c < 3; c++) shown.data[4 * pixel + c] = 0.5 * shown.data[4 * pixel + c] + 0.5 * colour[c];
  });
  context.putImageData(shown, 0, 0);
  element("legend").replaceChildren(...classNames.map((name, index) => {
    const item = document.createElement("li");
    const swatch = document.createElement("span");
    swatch.style.background = `rgb(${COLOURS[index % COLOURS.length]})`;
    item.append(swatch, `${name}: ${(100 * counts[index + 1] / mask.data.length).toFixed(1)} %`);
    return item;
  }));
  say(`${width} × ${height} pixels in ${milliseconds.toFixed(0)} ms`);
  self.segmented = { width, height, mask: mask.data, classNames };
}

function guarded(action) {
  return async (...given) => {
    try {
      await action(...given);
    } catch (error) {
      say(`${error.message ?? error}`, true);
    }
  };
}

element("model").addEventListener("change", guarded(async ({ target }) => useModel(await target.files[0].arrayBuffer())));
element("picture").addEventListener("change", guarded(({ target }) => usePicture(target.files[0])));

// index.html?model=model.onnx&picture=picture.jpg opens files that lie beside the page
const asked = new URLSearchParams(location.search);
async function fetched(name) {
  const answer = await fetch(name);
  if (!answer.ok) throw new Error(`${name}: ${answer.status} ${answer.statusText}`);
  return answer;
}
await guarded(async () => {
  if (asked.has("picture")) await usePicture(await (await fetched(asked.get("picture"))).blob());
  if (asked.has("model")) await useModel(await (await fetched(asked.get("model"))).arrayBuffer());
})();
