// The metadata of an ONNX file, which ONNX Runtime for the web does not hand out: field 14 of the Protocol Buffers
// message ModelProto, once per entry, each with the key in field 1 and the value in field 2. All else is stepped over.
const METADATA = 14, KEY = 1, VALUE = 2;

function* fields(bytes) {
  let at = 0;
  const varint = () => {
    let value = 0, factor = 1, byte;
    do {
      if (at >= bytes.length) throw new Error("this is no ONNX file, or it is cut short");
      byte = bytes[at++];
      value += (byte & 127) * factor; // beyond 32 bits, where shifts end
      factor *= 128;
    } while (byte & 128);
    return value;
  };
  while (at < bytes.length) {
    const tag = varint();
    const number = Math.floor(tag / 8), type = tag % 8;
    if (type === 0) varint();
    else if (type === 1) at += 8;
    else if (type === 5) at += 4;
    else if (type === 2) {
      const length = varint();
      if (at + length > bytes.length) throw new Error("this is no ONNX file, or it is cut short");
      yield [number, bytes.subarray(at, at + length)];
      at += length;
    } else throw new Error("this is no ONNX file");
  }
}

export function metadata(bytes) {
  const text = new TextDecoder();
  const found = {};
  for (const [number, entry] of fields(bytes)) {
    if (number !== METADATA) continue;
    const parts = Object.fromEntries(fields(entry));
    if (parts[KEY]) found[text.decode(parts[KEY])] = text.decode(parts[VALUE] ?? new Uint8Array());
  }
  return found;
}
