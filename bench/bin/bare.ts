import { createBareLoop } from "../bare-loop.ts";

const [url = "", count, concurrency, client] = process.argv.slice(2);
const times = await createBareLoop(url, { lean: client === "lean" })(Number(count), Number(concurrency));
console.log(JSON.stringify(times));
process.exit();
