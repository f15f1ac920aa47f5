// What the stories share: a connection, a namespace of their own, and a runner that tells which story failed.
//
// Invariant: a story asserts what the client handed over, never what went over the wire.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

// The package is where the script that installs clients has put it, not beside this file.
const installed = createRequire(`${process.env.CORACLE_CLIENTS}/javascript/package.json`);
export const k8s = await import(installed.resolve('@kubernetes/client-node')).then((m) => m.default ?? m);

export const kubeconfig = new k8s.KubeConfig();
kubeconfig.loadFromDefault();

/** Runs each story in a namespace of its own; the exit code is 1 if one failed. */
export async function run(...stories) {
  const core = kubeconfig.makeApiClient(k8s.CoreV1Api);
  let passed = 0;
  for (const story of stories) {
    const name = story.name.toLowerCase().replaceAll('_', '-').slice(0, 50).replace(/-$/, '');
    try {
      await core.createNamespace({ body: { metadata: { name } } });
      await story(name);
      passed += 1;
    } catch (error) {
      console.error(`FAILED ${story.name}\n${error.stack}\n${error.body ?? ''}`);
    } finally {
      await core.deleteNamespace({ name });
    }
  }
  console.log(`${passed} of ${stories.length} stories passed`);
  process.exit(passed === stories.length ? 0 : 1);
}

/** The promise must be refused with this code and these words in the answer. */
export async function refused(code, words, promise) {
  const refusal = await promise.then(() => assert.fail(`it was not refused with ${code}`), (error) => error);
  assert.equal(refusal.code, code, String(refusal));
  assert.ok(String(refusal.body).includes(words), `${words} is not in ${refusal.body}`);
}

/** Asks again until the answer is true, and returns it. */
export async function eventually(what, check, seconds = 30) {
  const end = Date.now() + seconds * 1000;
  while (Date.now() < end) {
    const answer = await check();
    if (answer) return answer;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return assert.fail(`${what}: not within ${seconds} s`);
}
