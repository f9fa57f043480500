/** The element with that id. @param {string} id @returns {HTMLElement} */
export const byId = (id) => {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`expected an element #${id}`);
  return element;
};

/** A canvas with its context, as sharp as the screen. @param {string} id */
export const canvasOf = (id) => {
  const canvas = byId(id);
  if (!(canvas instanceof HTMLCanvasElement)) throw new Error(`expected a canvas #${id}`);
  const context = canvas.getContext("2d");
  if (context === null) throw new Error("expected a canvas that can be drawn on");
  const fit = (/** @type {number} */ width, /** @type {number} */ height) => {
    const ratio = devicePixelRatio;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      canvas.style.height = `${height}px`;
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    return { width, height };
  };
  return { canvas, context, fit };
};
/** Calls `move` with each movement of a pressed pointer. @param {HTMLElement} element @param {(event: PointerEvent, startX: number) => void} move */
export const onDrag = (element, move) => {
  element.addEventListener("pointerdown", (down) => {
    element.setPointerCapture(down.pointerId);
    const follow = (/** @type {PointerEvent} */ event) => move(event, down.offsetX);
    element.addEventListener("pointermove", follow);
    const stop = () => element.removeEventListener("pointermove", follow);
    element.addEventListener("pointerup", stop, { once: true });
    element.addEventListener("pointercancel", stop, { once: true });
  });
};
