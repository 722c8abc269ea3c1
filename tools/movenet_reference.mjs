// What MoveNet's own graph gives in node, as JSON: for each picture 6 people × 56 numbers.
//
//   npm install @tensorflow/tfjs
//   node tools/movenet_reference.mjs movenet-multipose.json PICTURE.rgb HEIGHT WIDTH [PICTURE.rgb HEIGHT WIDTH ...]
//
// A picture is raw bytes: height × width × 3, RGB; both sides are multiples of 32.
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { createRequire } from "node:module";

const tf = createRequire(join(process.cwd(), "package.json"))("@tensorflow/tfjs");
const [graph, ...given] = process.argv.slice(2);
const { modelTopology, weightsManifest } = JSON.parse(readFileSync(graph, "utf8"));
const [{ paths, weights: weightSpecs }] = weightsManifest;
const content = Buffer.concat(paths.map((name) => readFileSync(join(dirname(graph), name))));
const weightData = content.buffer.slice(content.byteOffset, content.byteOffset + content.byteLength);
await tf.setBackend("cpu");
const model = await tf.loadGraphModel({ load: async () => ({ modelTopology, weightSpecs, weightData }) });
const found = {};
for (let at = 0; at < given.length; at += 3) {
  const shape = [1, Number(given[at + 1]), Number(given[at + 2]), 3];
  const output = await model.executeAsync(tf.tensor(Int32Array.from(readFileSync(given[at])), shape, "int32"));
  found[given[at]] = output.arraySync()[0];
}
console.log(JSON.stringify(found));
