import { createBareLoop } from "../bare-loop.ts";

const [url = "", count, concurrency] = process.argv.slice(2);
const times = await createBareLoop(url)(Number(count), Number(concurrency));
console.log(JSON.stringify(times));
process.exit();
