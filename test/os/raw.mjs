// The compiled entry point millpond/native, and the raw calls under it that users do not get.
const RAW = ["load", "descriptors", "names", "shared-memory", "wait"];

/** Everything native from a folder that compiled() made. */
export async function loadNative(folder) {
  const files = ["native.js", ...RAW.map((name) => `os/${name}.js`)];
  return Object.assign({}, ...(await Promise.all(files.map((file) => import(`file://${folder}/${file}`)))));
}
