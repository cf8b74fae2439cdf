# Process 1 of a node's namespaces: makes the node's own view of the file system, then becomes the reaper.
# Arguments: the node's folder, its host name, the reaper. Everything mounted here ends with the namespaces.
set -e
dir=$1 name=$2 reaper=$3

# kubelet and containerd want mounts that pods' namespaces can share.
mount --make-rshared /

# A /sys of this network namespace, with the machine's cgroups in it.
mkdir -p "$dir/cgroup"
mount --rbind /sys/fs/cgroup "$dir/cgroup"
mount -t sysfs sysfs /sys
mount --rbind "$dir/cgroup" /sys/fs/cgroup

# The standard paths, without touching the machine's files.
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/netns /run/containerd /run/lock
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$dir/etc,workdir=$dir/etc.work" /etc
mount -t overlay overlay -o "lowerdir=/var,upperdir=$dir/var,workdir=$dir/var.work" /var
mount -t tmpfs -o mode=755 tmpfs /opt
mkdir -p /var/lib/kubelet /var/lib/cni /var/log/pods /var/log/containers /etc/cni/net.d /opt/cni/bin
for place in var/lib/kubelet etc/cni/net.d opt/cni/bin var/log/pods; do
    mount --bind "$dir/$(basename "$place")" "/$place"
done

hostname "$name"
ip link set lo up
echo ready > "$dir/ready"
exec "$reaper"
