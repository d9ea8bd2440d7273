# Snakemake deletes the outputs of a job before it runs and when it fails. Downloads are large and slow, and the verb itself checks
# which files are still valid. So data/raw/{dataset}/ is not an output, and the card is marked `update`: it is never deleted.
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
    priority: 1  # the longest chain of jobs, the three training stages, waits for it
    shell:
        "mperceiver encode {wildcards.foundation} {wildcards.dataset} --threads {threads} > {log} 2>&1"
