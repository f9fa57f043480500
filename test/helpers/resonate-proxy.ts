export {
  type OnAnswer,
  type OnRequest,
  type ResonateProxy,
  startResonateProxy,
} from "../../src/demo/resonate-proxy.ts";
