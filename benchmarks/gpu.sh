#!/usr/bin/env bash
# What a GPU does with this project, in at most eight minutes, on a machine without network.
#
#   benchmarks/gpu.sh --pack           here, once: the wheels that such a machine lacks, into benchmarks/wheels/ (40 MB)
#   benchmarks/gpu.sh --check          here: they are all that is missing, shown by a trial in a clean environment
#   benchmarks/gpu.sh --dry-run OUT    here: the same programs on the processor, at a quarter of the width, a minute or two
#   benchmarks/gpu.sh OUT              there: torch with CUDA, Python 3.12, and benchmarks/wheels/ carried along
#
# OUT is a folder. Each result is in it the moment it is there: summary.txt (a line a part: exit code, seconds), tests.log,
# restoration.json, training.json, small.log. A part that fails or takes too long does not stop the next one.
# PARTS="imports tests" (in the environment) runs only these of imports, tests, restoration, training and small.
set -u
root=$(cd "$(dirname "$0")/.." && pwd)
here=$root/benchmarks
python=$(command -v python3 || command -v python)
case ${1:-} in
    --pack) exec "$python" "$here/gpu_packages.py" pack ;;
    --check) exec "$python" "$here/gpu_packages.py" check ;;
    --dry-run) dry=1; shift ;;
    *) dry=0 ;;
esac
[ $# = 1 ] || { sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 2; }
mkdir -p "$1" && out=$(cd "$1" && pwd) || exit 1

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
wheels=${WHEELS:-$here/wheels}
if [ -d "$wheels" ]; then
    "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$work/site" "$wheels"/*.whl || exit 1
    export PYTHONPATH=$work/site:$root
else
    export PYTHONPATH=$root
fi
export PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error DIFFUSERS_VERBOSITY=error
failed=0

part() { # part NAME SECONDS COMMAND...: runs it in the project, its output in NAME.log, one line in summary.txt
    local name=$1 limit=$2 start=$SECONDS
    shift 2
    case " ${PARTS:-$name} " in *" $name "*) ;; *) return ;; esac
    (cd "$root" && timeout --kill-after 5 "$limit" "$@") > "$out/$name.log" 2>&1
    local code=$?
    [ $code = 0 ] || failed=1
    echo "$name: exit code $code after $((SECONDS - start)) s (124: its limit of $limit s was over)" | tee -a "$out/summary.txt"
}

needed="diffusers.training_utils, open_clip.model, mperceiver.cli.data, mperceiver.cli.train, mperceiver.data.prepare.dataset"
needed="$needed, mperceiver.data.raw.download, mperceiver.models.mperceiver, mperceiver.training.stages, mperceiver.training.latents"
part imports $((60 + 340 * dry)) "$python" -c "import $needed"
if [ $dry = 1 ]; then
    part tests 400 "$python" -m pytest -p no:cacheprovider -q -m gpu --gpu-device cpu -W default tests/gpu
    part restoration 400 "$python" "$here/device.py" --device cpu --quarter --repeats 1 --only restoration --out "$out/restoration.json"
    part training 400 "$python" "$here/device.py" --device cpu --quarter --repeats 1 --only training --out "$out/training.json"
    part small 400 "$python" "$here/small.py" --steps 2 --crops 18 --pictures 6
else
    "$python" -c 'import torch; print(torch.__version__, torch.cuda.get_device_name())' | tee "$out/summary.txt" || exit 1
    part tests 90 "$python" -m pytest -p no:cacheprovider -q -m gpu -W default tests/gpu
    part restoration 150 "$python" "$here/device.py" --only restoration --limit 120 --out "$out/restoration.json"
    part training 100 "$python" "$here/device.py" --only training --limit 80 --out "$out/training.json"
    part small $((470 - SECONDS)) "$python" "$here/small.py"
fi
exit $failed
