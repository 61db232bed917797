# Makes an image, `$IMAGE`, of the tree `rootfs` for containerd: one layer, a shell.
set -e
tar -C rootfs -cf layer.tar .
hash() { sha256sum "$1" | cut -d' ' -f1; }
size() { stat -c %s "$1"; }
mkdir -p oci/blobs/sha256
# place FILE: into the layout, under its digest.
place() { cp "$1" "oci/blobs/sha256/$(hash "$1")"; }
printf '{"architecture":"amd64","os":"linux","config":{"Cmd":["sh"],"Env":["PATH=/bin","A=1"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$(hash layer.tar)" >config
type=application/vnd.oci.image
printf '{"schemaVersion":2,"mediaType":"%s.manifest.v1+json","config":{"mediaType":"%s.config.v1+json","digest":"sha256:%s","size":%d},"layers":[{"mediaType":"%s.layer.v1.tar","digest":"sha256:%s","size":%d}]}' \
    $type $type "$(hash config)" "$(size config)" $type "$(hash layer.tar)" "$(size layer.tar)" >manifest
printf '{"schemaVersion":2,"manifests":[{"mediaType":"%s.manifest.v1+json","digest":"sha256:%s","size":%d,"annotations":{"io.containerd.image.name":"%s"}}]}' \
    $type "$(hash manifest)" "$(size manifest)" "$IMAGE" >oci/index.json
echo '{"imageLayoutVersion":"1.0.0"}' >oci/oci-layout
place layer.tar
place config
place manifest
tar -C oci -cf image.tar .
ctr image import image.tar
