// Search works in a worker, which browsers refuse to pages that are opened from files. There, and
// only there, a hidden frame takes its place: it loads the same script and is sent the same messages.
if (location.protocol === "file:") {
  const escaped = (address) => address.replaceAll("&", "&amp;").replaceAll('"', "&quot;");

  class IFrameWorker extends EventTarget {
    constructor(address) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.title = "Search";
      document.body.append(frame);
      this.inner = frame.contentWindow;
      const page = frame.contentDocument;
      page.open();
      // What a worker has and a window has not, or otherwise.
      this.inner.postMessage = (data) => this.#answer(data);
      this.inner.importScripts = (...addresses) =>
        addresses.reduce((before, next) => before.then(() => load(page, next)), Promise.resolve());
      this.ready = new Promise((done) => frame.addEventListener("load", done, { once: true }));
      page.write(`<!doctype html><html><body><script src="${escaped(String(address))}"><\/script>`);
      page.close();
    }

    postMessage(data) {
      const message = new MessageEvent("message", { data });
      this.ready.then(() => {
        this.inner.dispatchEvent(message);
      });
    }

    terminate() {
      this.inner.frameElement?.remove();
    }

    #answer(data) {
      const message = new MessageEvent("message", { data });
      this.dispatchEvent(message);
      this.onmessage?.(message);
    }
  }

  const load = (page, address) =>
    new Promise((done, failed) => {
      const script = page.createElement("script");
      script.src = address;
      script.onload = done;
      script.onerror = failed;
      page.body.append(script);
    });

  window.IFrameWorker = IFrameWorker;
  window.Worker = IFrameWorker;
}
