// A command in AssemblyScript, for WASI preview 1: it reports what it was given, as README.md lists it.
// The shim of its standard library knows no files and no sleep, so of these it says nothing.

const given = process.argv.slice(1);
for (let i = 0; i < given.length; i++) {
  console.log(`arg ${i + 1}: ${given[i]}`);
}
if (process.env.has("GREETING")) console.log(`GREETING=${process.env.get("GREETING")}`);

if (process.stdin.read(new ArrayBuffer(16)) == 0) console.log("stdin is empty");

const one = new Uint8Array(16);
const other = new Uint8Array(16);
crypto.getRandomValues(one);
crypto.getRandomValues(other);
for (let i = 0; i < 16; i++) {
  if (one[i] != other[i]) {
    console.log("random differs");
    break;
  }
}
if (new Date(Date.now()).getUTCFullYear() >= 2024) console.log("the clock is set");
console.error("a word on stderr");

if (given.length == 2 && given[0] == "exit") process.exit(I32.parseInt(given[1]));
if (given.length == 1 && given[0] == "panic") throw new Error("asked to");
