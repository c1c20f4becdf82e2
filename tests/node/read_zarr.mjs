// read_zarr.mjs URL START STOP: reads an AnnData store as a page in a browser does, by fetch and through the consolidated
// metadata, and prints as JSON all columns of obs and var, and rows [START, STOP) of what has a row for each cell.
//
// A number that JSON has not is printed as text; a value that is missing is null.
import * as zarr from "zarrita";

const [url, start, stop] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const store = await zarr.withConsolidatedMetadata(new zarr.FetchStore(url));
const root = await zarr.open.v3(store, { kind: "group" });
const nodes = new Map(store.contents().map(({ path, kind }) => [path.slice(1), kind]));

const group = (path) => zarr.open.v3(root.resolve(path), { kind: "group" });

async function read(path, ...selection) {
  const array = await zarr.open.v3(root.resolve(path), { kind: "array" });
  const region = await zarr.get(array, array.shape.map((_, axis) => selection[axis] ?? null));
  return { dtype: array.dtype, shape: region.shape, values: Array.from(region.data) };
}

const whole = async (path) => (await read(path)).values;
const scalar = async (path) => zarr.get(await zarr.open.v3(root.resolve(path), { kind: "array" }));

async function column(path) {
  if (nodes.get(path) === "array") return whole(path);
  const { attrs } = await group(path);
  if (attrs["encoding-type"] === "categorical") {
    const [codes, categories] = await Promise.all([whole(`${path}/codes`), whole(`${path}/categories`)]);
    return codes.map((code) => (code < 0 ? null : categories[code]));
  }
  const [values, mask] = await Promise.all([whole(`${path}/values`), whole(`${path}/mask`)]);
  return values.map((value, row) => (mask[row] ? null : value));
}

async function frame(path) {
  const { attrs } = await group(path);
  const columns = {};
  for (const name of attrs["column-order"]) columns[name] = await column(`${path}/${name}`);
  return { index: await whole(`${path}/${attrs._index}`), columns };
}

// Of a csr matrix a client fetches the pointers of its rows, then the elements between them.
async function rows(path) {
  if (nodes.get(path) === "array") return read(path, zarr.slice(start, stop));
  const { attrs } = await group(path);
  if (attrs["encoding-type"] !== "csr_matrix") return null;
  const indptr = (await read(`${path}/indptr`, zarr.slice(start, stop + 1))).values.map(Number);
  // zarrita refuses to select nothing.
  if (indptr[0] === indptr.at(-1)) return { indptr, indices: [], values: [], genes: attrs.shape[1] };
  const elements = zarr.slice(indptr[0], indptr.at(-1));
  const [indices, data] = await Promise.all([read(`${path}/indices`, elements), read(`${path}/data`, elements)]);
  return { dtype: data.dtype, indptr, indices: indices.values, values: data.values, genes: attrs.shape[1] };
}

const members = (path) => [...nodes.keys()].filter((node) => node.replace(/\/[^/]*$/, "") === path && node !== path);
const matrices = ["X", "raw/X", ...members("layers"), ...members("obsm")].filter((path) => nodes.has(path));
const answer = { obs: await frame("obs"), var: await frame("var"), rows: {}, title: await scalar("uns/title") };
for (const path of matrices) answer.rows[path] = await rows(path);

const printable = (_, value) => {
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  return typeof value === "number" && !Number.isFinite(value) ? String(value) : value;
};
process.stdout.write(JSON.stringify(answer, printable));
