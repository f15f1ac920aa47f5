// The JavaScript client: typed objects, objects of any kind, patches, watches and informers.

import assert from 'node:assert/strict';
import { eventually, k8s, kubeconfig, refused, run } from './story.mjs';

const core = kubeconfig.makeApiClient(k8s.CoreV1Api);
const apps = kubeconfig.makeApiClient(k8s.AppsV1Api);

const configMap = (name, data = { a: '1' }) => ({ metadata: { name }, data });

async function an_object_comes_back_as_it_was_sent(namespace) {
  const made = await core.createNamespacedConfigMap({ namespace, body: configMap('settings', { k: 'é' }) });
  assert.ok(made.metadata.uid && made.metadata.creationTimestamp instanceof Date);
  const read = await core.readNamespacedConfigMap({ namespace, name: 'settings' });
  assert.deepEqual(read.data, { k: 'é' });
  read.data.l = '2';
  const replaced = await core.replaceNamespacedConfigMap({ namespace, name: 'settings', body: read });
  assert.deepEqual(replaced.data, { k: 'é', l: '2' });
  const again = core.replaceNamespacedConfigMap({ namespace, name: 'settings', body: read });
  await refused(409, 'the object has been modified', again);
  const gone = await core.deleteNamespacedConfigMap({ namespace, name: 'settings' });
  assert.equal(gone.status, 'Success');
  await refused(404, 'configmaps', core.readNamespacedConfigMap({ namespace, name: 'settings' }));
  const wrong = core.createNamespacedConfigMap({ namespace, body: configMap('Not_A_Name') });
  await refused(422, 'metadata.name', wrong);
}

async function each_kind_of_patch_is_taken(namespace) {
  await core.createNamespacedConfigMap({ namespace, body: configMap('p') });
  const patch = (strategy, body, more = {}) =>
    core.patchNamespacedConfigMap({ namespace, name: 'p', body, ...more },
      k8s.setHeaderOptions('Content-Type', strategy));
  const ops = [{ op: 'add', path: '/data/b', value: '2' }];
  assert.deepEqual((await patch(k8s.PatchStrategy.JsonPatch, ops)).data, { a: '1', b: '2' });
  assert.deepEqual((await patch(k8s.PatchStrategy.MergePatch, { data: { a: null } })).data, { b: '2' });
  assert.deepEqual((await patch(k8s.PatchStrategy.StrategicMergePatch, { data: { c: '3' } })).data, { b: '2', c: '3' });
  const applied = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'p' }, data: { d: '4' } };
  const owned = await patch(k8s.PatchStrategy.ServerSideApply, applied, { fieldManager: 'js', force: true });
  assert.equal(owned.data.d, '4');
  assert.ok(owned.metadata.managedFields.some((f) => f.manager === 'js' && f.operation === 'Apply'));
}

async function objects_of_any_kind_are_found_by_discovery(namespace) {
  const any = k8s.KubernetesObjectApi.makeApiClient(kubeconfig);
  const labels = { app: 'any' };
  const container = { name: 'web', image: 'hello:1', resources: { limits: { memory: '64Mi' } } };
  const template = { metadata: { labels }, spec: { containers: [container] } };
  const spec = { replicas: 1, selector: { matchLabels: labels }, template };
  const deployment = { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'any', namespace }, spec };
  const made = await any.create(deployment);
  assert.equal(made.spec.strategy.type, 'RollingUpdate');
  const more = await any.patch({ ...deployment, spec: { ...spec, replicas: 2 } });
  assert.equal(more.spec.replicas, 2);
  assert.equal((await any.list('apps/v1', 'Deployment', namespace)).items.length, 1);
  const scale = await apps.readNamespacedDeploymentScale({ namespace, name: 'any' });
  assert.equal(scale.spec.replicas, 2);
  await any.delete(deployment);
  await refused(404, 'not found', any.read(deployment));
}

async function an_informer_keeps_up_with_all_changes(namespace) {
  const list = () => core.listNamespacedConfigMap({ namespace });
  const informer = k8s.makeInformer(kubeconfig, `/api/v1/namespaces/${namespace}/configmaps`, list);
  // Every namespace has the certificate of the cluster's authority, which comes when it likes.
  const isOurs = (object) => object.metadata.name !== 'kube-root-ca.crt';
  const seen = [];
  for (const event of ['add', 'update', 'delete']) {
    informer.on(event, (object) => isOurs(object) && seen.push(`${event} ${object.metadata.name}`));
  }
  await core.createNamespacedConfigMap({ namespace, body: configMap('there') });
  await informer.start();
  await core.createNamespacedConfigMap({ namespace, body: configMap('new') });
  await core.patchNamespacedConfigMap({ namespace, name: 'new', body: { data: { b: '2' } } },
    k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.MergePatch));
  await eventually('the change', () => seen.includes('update new'));
  await core.deleteNamespacedConfigMap({ namespace, name: 'new' });
  await eventually('the deletion', () => seen.includes('delete new'));
  assert.deepEqual(seen, ['add there', 'add new', 'update new', 'delete new']);
  assert.deepEqual(informer.list().filter(isOurs).map((object) => object.metadata.name), ['there']);
  await informer.stop();
}

async function a_watch_ends_when_it_was_told_to(namespace) {
  const types = [];
  await core.createNamespacedConfigMap({ namespace, body: configMap('one') });
  await new Promise((resolve, reject) => {
    const path = `/api/v1/namespaces/${namespace}/configmaps`;
    const options = { timeoutSeconds: 1, allowWatchBookmarks: true };
    const done = (error) => (error && error.name !== 'AbortError' ? reject(error) : resolve());
    new k8s.Watch(kubeconfig).watch(path, options, (type) => types.push(type), done).catch(reject);
  });
  assert.equal(types[0], 'ADDED');
}

await run(
  an_object_comes_back_as_it_was_sent,
  each_kind_of_patch_is_taken,
  objects_of_any_kind_are_found_by_discovery,
  an_informer_keeps_up_with_all_changes,
  a_watch_ends_when_it_was_told_to,
);
