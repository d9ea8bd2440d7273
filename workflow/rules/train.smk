# Stage 1: the degradation predictor, on cached CLIP embeddings.
rule train_predictor:
    input:
        inputs(mperceiver.config.stage_inputs, stage="predictor"),
    output:
        weights="results/runs/{run}/predictor.safetensors",
        curve="results/runs/{run}/predictor.csv",
        card="results/runs/{run}/predictor.json",
    log:
        "results/logs/train_predictor/{run}.log",
    benchmark:
        "results/benchmarks/train_predictor/{run}.tsv"
    priority: 1
    threads: processes("predictor")
    shell:
        "mperceiver train_predictor {wildcards.run} --threads {threads} > {log} 2>&1"


# Stage 2: the textual and the visual branch, on cached latents.
rule train_branches:
    input:
        inputs(mperceiver.config.stage_inputs, stage="branches"),
    output:
        weights="results/runs/{run}/branches.safetensors",
        curve="results/runs/{run}/branches.csv",
        card="results/runs/{run}/branches.json",
    log:
        "results/logs/train_branches/{run}.log",
    benchmark:
        "results/benchmarks/train_branches/{run}.tsv"
    priority: 1
    threads: processes("branches")
    shell:
        "mperceiver train_branches {wildcards.run} --threads {threads} > {log} 2>&1"


# Stage 3: the detail refinement module, on latents that stage 2 sampled.
rule train_drm:
    input:
        inputs(mperceiver.config.stage_inputs, stage="drm"),
    output:
        weights="results/runs/{run}/drm.safetensors",
        curve="results/runs/{run}/drm.csv",
        card="results/runs/{run}/drm.json",
    log:
        "results/logs/train_drm/{run}.log",
    benchmark:
        "results/benchmarks/train_drm/{run}.tsv"
    priority: 1
    threads: processes("drm")
    shell:
        "mperceiver train_drm {wildcards.run} --threads {threads} > {log} 2>&1"


# A baseline: one stage, on the same pairs.
rule train_network:
    input:
        inputs(mperceiver.config.stage_inputs, stage="network"),
    output:
        weights="results/runs/{run}/network.safetensors",
        curve="results/runs/{run}/network.csv",
        card="results/runs/{run}/network.json",
    log:
        "results/logs/train_network/{run}.log",
    benchmark:
        "results/benchmarks/train_network/{run}.tsv"
    threads: processes("network")
    shell:
        "mperceiver train_network {wildcards.run} --threads {threads} > {log} 2>&1"
