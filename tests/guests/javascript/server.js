// An HTTP component in JavaScript, for wasi:http 0.2: it answers as README.md lists it.
import { getEnvironment } from 'wasi:cli/environment@0.2.10';

addEventListener('fetch', (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const url = new URL(request.url);
  console.log(`request for ${url.pathname}${url.search}`);
  console.error('served');
  switch (url.pathname) {
    case '/': {
      const environment = Object.fromEntries(getEnvironment());
      return text(`${environment.GREETING} from ${environment.POD_NAME}\n`);
    }
    case '/upper':
      return text(request.body.pipeThrough(uppercase()));
    case '/fetch': {
      const answer = await fetch(`http://${url.searchParams.get('host')}/`);
      return text(`fetched: ${await answer.text()}`);
    }
    case '/panic':
      throw new Error('asked to');
    default:
      return new Response('', { status: 404 });
  }
}

function uppercase() {
  const upper = (byte) => (byte >= 0x61 && byte <= 0x7a ? byte - 0x20 : byte);
  return new TransformStream({ transform: (chunk, controller) => controller.enqueue(chunk.map(upper)) });
}

function text(body) {
  return new Response(body, { headers: { 'content-type': 'text/plain' } });
}
