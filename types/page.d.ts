// What `tsc` can't know of our pages: the events of htmx and our own, and htmx itself.

/** What every event of htmx tells. */
interface HtmxDetail {
  elt: Element;
}

/** A request of htmx. */
interface HtmxRequest {
  elt: Element;
  verb: string;
  formData: FormData;
  /** The photo that the viewer showed when this was sent: see photos/viewer.js. */
  photo?: string;
}

/** What events about a request and its answer tell. Answers that we swap in have no request. */
interface HtmxAnswer extends HtmxDetail {
  target: Element;
  xhr: XMLHttpRequest;
  requestConfig?: HtmxRequest;
  successful?: boolean;
  shouldSwap: boolean;
  serverResponse: string;
}

interface DocumentEventMap {
  "faces-decided": CustomEvent<{ gone?: number[] }>;
  "grid:moved": CustomEvent<HTMLElement>;
  "grid:shown": CustomEvent<HTMLElement>;
  "viewer:face": CustomEvent<null>;
  "viewer:faces": CustomEvent<null>;
  "htmx:afterOnLoad": CustomEvent<HtmxAnswer>;
  "htmx:afterRequest": CustomEvent<HtmxAnswer>;
  "htmx:afterSettle": CustomEvent<HtmxDetail>;
  "htmx:afterSwap": CustomEvent<HtmxAnswer>;
  "htmx:beforeOnLoad": CustomEvent<HtmxAnswer>;
  "htmx:beforeRequest": CustomEvent<HtmxAnswer>;
  "htmx:beforeSwap": CustomEvent<HtmxAnswer>;
  "htmx:configRequest": CustomEvent<HtmxDetail & { parameters: FormData; verb: string }>;
  "htmx:oobAfterSwap": CustomEvent<HtmxDetail & { target: Element }>;
  "htmx:oobBeforeSwap": CustomEvent<HtmxDetail & { target: Element }>;
  "htmx:responseError": CustomEvent<HtmxAnswer>;
  "htmx:sendError": CustomEvent<HtmxAnswer>;
  "htmx:xhr:progress": CustomEvent<HtmxDetail & { lengthComputable: boolean; loaded: number; total: number }>;
}

interface Window {
  /** A classic script of django-htmx, which pages behind public links don't have. */
  htmx?: {
    ajax(verb: string, url: string, options: { target: string; swap: string }): Promise<void>;
    process(element: Element): void;
    swap(target: string, html: string, how: { swapStyle: string }, more?: { eventInfo: object }): void;
    trigger(element: Element, event: string): void;
  };
}
