# Snakemake deletes a job's outputs before it runs, and again if it fails. Here they are large and slow to come, and the verb knows
# what of them is still right: so the folder is no output, and the card, which tells it, is updated.
rule download:
    input:
        inputs(mperceiver.config.download_inputs),
    output:
        card=update("data/raw/{dataset}.json"),
    log:
        "results/logs/download/{dataset}.log",
    benchmark:
        "results/benchmarks/download/{dataset}.tsv"
    shell:
        "mperceiver download {wildcards.dataset} > {log} 2>&1"


rule prepare:
    input:
        inputs(mperceiver.config.prepare_inputs),
    output:
        card="data/prepared/{dataset}.json",
        pairs="data/prepared/{dataset}.arrow",
    log:
        "results/logs/prepare/{dataset}.log",
    benchmark:
        "results/benchmarks/prepare/{dataset}.tsv"
    shell:
        "mperceiver prepare {wildcards.dataset} --workers {threads} > {log} 2>&1"


rule encode:
    input:
        inputs(mperceiver.config.encode_inputs),
        pairs=ancient("data/prepared/{dataset}.arrow"),
    output:
        card="data/latents/{foundation}/{dataset}.json",
        latents="data/latents/{foundation}/{dataset}.arrow",
    log:
        "results/logs/encode/{foundation}/{dataset}.log",
    benchmark:
        "results/benchmarks/encode/{foundation}/{dataset}.tsv"
    priority: 1  # the three stages stand on it, the longest chain of all
    shell:
        "mperceiver encode {wildcards.foundation} {wildcards.dataset} --threads {threads} > {log} 2>&1"
