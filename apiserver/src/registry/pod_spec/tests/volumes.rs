//! Volumes: names, sources, files.

use expect_test::expect;
use serde_json::{Value, json};

use super::{check, filled};

fn volumes(sources: &[Value]) -> Value {
    let named = sources.iter().enumerate().map(|(index, source)| {
        let mut volume = source.clone();
        volume["name"] = json!(format!("v{index}"));
        volume
    });
    json!({"volumes": named.collect::<Vec<_>>(), "serviceAccountName": "s"})
}

#[test]
fn volumes_have_a_name_and_a_source() {
    check(
        json!({"volumes": [
            {"name": ""}, {"name": "A_"}, {"name": "a"}, {"name": "a"},
            {"name": "b", "emptyDir": {"sizeLimit": "-1"}, "hostPath": {"path": "/a"}, "downwardAPI": {}},
        ]}),
        expect![[r#"
            spec.volumes[0].name: Required value
            spec.volumes[1].name: Invalid value: "A_": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.volumes[3].name: Duplicate value: "a"
            spec.volumes[4].emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity
            spec.volumes[4].hostPath: Forbidden: may not specify more than 1 volume type
            spec.volumes[4].downwarAPI: Forbidden: may not specify more than 1 volume type"#]],
    );
}

#[test]
fn files_stay_in_their_volume() {
    check(
        volumes(&[
            json!({"configMap": {"name": "", "defaultMode": 512, "items": [{"key": "", "path": "..a"}, {"key": "a", "path": "/x", "mode": -1}]}}),
            json!({"secret": {"items": [{"key": "a", "path": "a/../b"}]}}),
            json!({"downwardAPI": {"items": [
                {"path": ""}, {"path": "a", "fieldRef": {"fieldPath": "spec.nodeName"}}, {"path": "b", "resourceFieldRef": {"resource": "limits.cpu"}},
                {"path": "c", "fieldRef": {"fieldPath": "metadata.name"}, "resourceFieldRef": {"resource": "x", "containerName": "c"}},
            ]}}),
            json!({"hostPath": {"path": "/a/..", "type": "X"}}),
            json!({"hostPath": {"path": ""}}),
        ]),
        expect![[r#"
            spec.volumes[0].configMap.name: Required value
            spec.volumes[0].configMap.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive
            spec.volumes[0].configMap.items[0].key: Required value
            spec.volumes[0].configMap.items[0].path: Invalid value: "..a": must not start with '..'
            spec.volumes[0].configMap.items[1].path: Invalid value: "/x": must be a relative path
            spec.volumes[0].configMap.items[1].mode: Invalid value: -1: must be a number between 0 and 0777 (octal), both inclusive
            spec.volumes[1].secret.secretName: Required value
            spec.volumes[1].secret.items[0].path: Invalid value: "a/../b": must not contain '..'
            spec.volumes[2].downwardAPI.path: Required value
            spec.volumes[2].downwardAPI: Required value: one of fieldRef and resourceFieldRef is required
            spec.volumes[2].downwardAPI.fieldRef.fieldPath: Unsupported value: "spec.nodeName": supported values: "metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"
            spec.volumes[2].downwardAPI.resourceFieldRef.containerName: Required value
            spec.volumes[2].downwardAPI: Invalid value: "resource": fieldRef and resourceFieldRef can not be specified simultaneously
            spec.volumes[3].hostPath.path: Invalid value: "/a/..": must not contain '..'
            spec.volumes[3].hostPath.type: Unsupported value: "X": supported values: "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"
            spec.volumes[4].hostPath.path: Required value"#]],
    );
}

#[test]
fn projections_do_not_meet() {
    check(
        volumes(&[json!({"projected": {"sources": [
            {"secret": {"name": "s", "items": [{"key": "k", "path": "p"}]}, "configMap": {"name": "m", "items": [{"key": "k", "path": "p"}]}},
            {"serviceAccountToken": {"path": "/a", "expirationSeconds": 5}},
            {"serviceAccountToken": {"path": "", "expirationSeconds": 5_000_000_000_i64}},
            {"clusterTrustBundle": {"path": "p"}},
            {"clusterTrustBundle": {"path": "q", "name": "A", "labelSelector": {}}},
            {"clusterTrustBundle": {"path": "r", "signerName": "x"}},
            {"downwardAPI": {"items": [{"path": "q", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        ]}})]),
        expect![[r#"
            spec.volumes[0].projected: Invalid value: "m": conflicting duplicate paths
            spec.volumes[0].projected.sources[0]: Forbidden: may not specify more than 1 volume type per source
            spec.volumes[0].projected.sources[1].serviceAccountToken.expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes
            spec.volumes[0].projected.path: Invalid value: "/a": must be a relative path
            spec.volumes[0].projected.sources[2].serviceAccountToken.expirationSeconds: Invalid value: 5000000000: may not specify a duration larger than 2^32 seconds
            spec.volumes[0].projected.path: Required value
            spec.volumes[0].projected.sources[3].clusterTrustBundle: Required value: either name or signerName must be specified
            spec.volumes[0].projected: Invalid value: "p": conflicting duplicate paths
            spec.volumes[0].projected.sources[4].clusterTrustBundle.name: Invalid value: "A": not a valid clustertrustbundlename: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.volumes[0].projected.sources[4].clusterTrustBundle.labelSelector: Invalid value: {}: labelSelector must be unset if name is specified
            spec.volumes[0].projected.sources[5].clusterTrustBundle.signerName: Invalid value: "x": must be a fully qualified domain and path of the form 'example.com/signer-name'
            spec.volumes[0].projected: Invalid value: "q": conflicting duplicate paths"#]],
    );
    check(
        json!({"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "a"}}]}}]}),
        expect![
            "spec.volumes[0].projected.sources[0].serviceAccountToken: Forbidden: must not be specified when serviceAccountName is not set"
        ],
    );
}

#[test]
fn drivers_are_told_what_they_need() {
    check(
        volumes(&[
            json!({"csi": {"driver": "A_", "nodePublishSecretRef": {"name": ""}}}),
            json!({"ephemeral": {}}),
            json!({"ephemeral": {"volumeClaimTemplate": {"metadata": {"name": "x"}, "spec": {"accessModes": ["X"]}}}}),
            json!({"image": {}}),
            json!({"persistentVolumeClaim": {"claimName": ""}}),
            json!({"persistentVolumeClaim": {"claimName": "x-v1"}}),
        ]),
        expect![[r#"
            spec.volumes[0].csi.driver: Invalid value: "A_": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.volumes[0].csi.nodePublishSecretRef.name: Required value
            spec.volumes[1].ephemeral.volumeClaimTemplate: Required value
            spec.volumes[2].ephemeral.volumeClaimTemplate.metadata.name: Forbidden: cannot be set
            spec.volumes[2].ephemeral.volumeClaimTemplate.spec.accessModes: Unsupported value: "X": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"
            spec.volumes[2].ephemeral.volumeClaimTemplate.spec.resources[storage]: Required value
            spec.volumes[3].image.reference: Required value
            spec.volumes[4].persistentVolumeClaim.claimName: Required value
            spec.volumes[5].persistentVolumeClaim.claimName: Invalid value: "x-v1": must not reference a PVC that gets created for an ephemeral volume"#]],
    );
}

#[test]
fn storage_systems_are_told_what_they_need() {
    check(
        volumes(&[
            json!({"nfs": {"server": "", "path": "a"}}),
            json!({"iscsi": {"targetPortal": "", "iqn": "x", "lun": 256, "chapAuthSession": true, "initiatorName": "iqn.x"}}),
            json!({"iscsi": {"targetPortal": "a", "iqn": "iqn.2015-02.example.com:test", "lun": 0}}),
            json!({"gcePersistentDisk": {"pdName": "", "partition": 256}}),
            json!({"awsElasticBlockStore": {"volumeID": ""}}),
            json!({"gitRepo": {"repository": "", "directory": "/a"}}),
            json!({"glusterfs": {"endpoints": "", "path": ""}}),
            json!({"flocker": {}}),
            json!({"rbd": {"monitors": [], "image": ""}}),
            json!({"cinder": {"volumeID": "", "secretRef": {"name": ""}}}),
            json!({"cephfs": {"monitors": []}}),
            json!({"quobyte": {"registry": "a", "volume": ""}}),
            json!({"fc": {}}),
            json!({"fc": {"targetWWNs": ["a"], "wwids": ["b"]}}),
            json!({"flexVolume": {"driver": "", "options": {"kubernetes.io/a": "b"}}}),
            json!({"azureFile": {"secretName": "", "shareName": ""}}),
            json!({"azureDisk": {"diskName": "", "diskURI": "x", "cachingMode": "X", "kind": "Managed"}}),
            json!({"vsphereVolume": {"volumePath": ""}}),
            json!({"photonPersistentDisk": {"pdID": ""}}),
            json!({"portworxVolume": {"volumeID": ""}}),
            json!({"scaleIO": {"gateway": "", "system": "", "secretRef": {}}}),
            json!({"storageos": {"volumeName": "A", "volumeNamespace": "B", "secretRef": {"name": ""}}}),
        ]),
        expect![[r#"
            spec.volumes[0].nfs.server: Required value
            spec.volumes[0].nfs.path: Invalid value: "a": must be an absolute path
            spec.volumes[1].iscsi.targetPortal: Required value
            spec.volumes[1].iscsi.iqn: Invalid value: "x": must be valid format starting with iqn, eui, or naa
            spec.volumes[1].iscsi.lun: Invalid value: 256: must be between 0 and 255, inclusive
            spec.volumes[1].iscsi.secretRef: Required value
            spec.volumes[1].iscsi.initiatorname: Invalid value: "iqn.x": must be valid format
            spec.volumes[3].persistentDisk.pdName: Required value
            spec.volumes[3].persistentDisk.partition: Invalid value: 256: must be between 1 and 255, inclusive
            spec.volumes[4].awsElasticBlockStore.volumeID: Required value
            spec.volumes[5].gitRepo.repository: Required value
            spec.volumes[5].gitRepo.directory: Invalid value: "/a": must be a relative path
            spec.volumes[6].glusterfs.endpoints: Required value
            spec.volumes[6].glusterfs.path: Required value
            spec.volumes[7].flocker: Required value: one of datasetName and datasetUUID is required
            spec.volumes[8].rbd.monitors: Required value
            spec.volumes[8].rbd.image: Required value
            spec.volumes[9].cinder.volumeID: Required value
            spec.volumes[9].cinder.secretRef.name: Required value
            spec.volumes[10].cephfs.monitors: Required value
            spec.volumes[11].quobyte.registry: Invalid value: "a": must be a host:port pair or multiple pairs separated by commas
            spec.volumes[11].quobyte.volume: Required value
            spec.volumes[12].fc.targetWWNs: Required value: must specify either targetWWNs or wwids, but not both
            spec.volumes[13].fc.targetWWNs: Invalid value: ["a"]: targetWWNs and wwids can not be specified simultaneously
            spec.volumes[13].fc.lun: Required value: lun is required if targetWWNs is specified
            spec.volumes[14].flexVolume.driver: Required value
            spec.volumes[14].flexVolume.options[kubernetes.io/a]: Invalid value: "kubernetes.io/a": kubernetes.io and k8s.io namespaces are reserved
            spec.volumes[15].azureFile.secretName: Required value
            spec.volumes[15].azureFile.shareName: Required value
            spec.volumes[16].azureDisk.diskName: Required value
            spec.volumes[16].azureDisk.cachingMode: Unsupported value: "X": supported values: "None", "ReadOnly", "ReadWrite"
            spec.volumes[16].azureDisk.diskURI: Unsupported value: "x": supported values: "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
            spec.volumes[17].vsphereVolume.volumePath: Required value
            spec.volumes[18].photonPersistentDisk.pdID: Required value
            spec.volumes[19].portworxVolume.volumeID: Required value
            spec.volumes[20].scaleIO.gateway: Required value
            spec.volumes[20].scaleIO.system: Required value
            spec.volumes[20].scaleIO.volumeName: Required value
            spec.volumes[21].storageos.volumeName: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.volumes[21].storageos.volumeNamespace: Invalid value: "B": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.volumes[21].storageos.secretRef.name: Required value"#]],
    );
}

#[test]
fn volumes_are_filled_in() {
    filled(
        volumes(&[
            json!({}),
            json!({"image": {"reference": "a"}}),
            json!({"ephemeral": {"volumeClaimTemplate": {"spec": {}}}}),
            json!({"rbd": {"monitors": ["a"], "image": "b"}}),
            json!({"azureDisk": {"diskName": "a", "diskURI": "b"}}),
            json!({"downwardAPI": {"items": [{"path": "a", "resourceFieldRef": {"containerName": "c", "resource": "limits.cpu"}}]}}),
            json!({"projected": {"sources": [{"serviceAccountToken": {"path": "a"}}]}}),
        ]),
        "/spec/volumes",
        expect![[
            r#"[{"emptyDir":{},"name":"v0"},{"image":{"pullPolicy":"Always","reference":"a"},"name":"v1"},{"ephemeral":{"volumeClaimTemplate":{"metadata":{},"spec":{"resources":{},"volumeMode":"Filesystem"}}},"name":"v2"},{"name":"v3","rbd":{"image":"b","keyring":"/etc/ceph/keyring","monitors":["a"],"pool":"rbd","user":"admin"}},{"azureDisk":{"cachingMode":"ReadWrite","diskName":"a","diskURI":"b","fsType":"ext4","kind":"Shared","readOnly":false},"name":"v4"},{"downwardAPI":{"defaultMode":420,"items":[{"path":"a","resourceFieldRef":{"containerName":"c","divisor":"0","resource":"limits.cpu"}}]},"name":"v5"},{"name":"v6","projected":{"defaultMode":420,"sources":[{"serviceAccountToken":{"expirationSeconds":3600,"path":"a"}}]}}]"#
        ]],
    );
}
