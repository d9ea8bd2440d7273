# The program of a method of kind command, in the container or conda environment that the method names: the verb calls apptainer or
# conda itself, so that the image needs nothing of this project.
rule command:
    input:
        inputs(mperceiver.config.command_inputs),
        pairs=ancient("data/prepared/{dataset}.arrow"),
    output:
        card="results/commanded/{method}/{dataset}.json",
        folder=directory("results/commanded/{method}/{dataset}"),
    log:
        "results/logs/command/{method}/{dataset}.log",
    benchmark:
        "results/benchmarks/command/{method}/{dataset}.tsv"
    shell:
        "mperceiver command {wildcards.method} {wildcards.dataset} > {log} 2>&1"


rule restore:
    input:
        inputs(mperceiver.config.restore_inputs),
        pairs=ancient("data/prepared/{dataset}.arrow"),
    output:
        card="results/restored/{method}/{dataset}.json",
        folder=directory("results/restored/{method}/{dataset}"),
    log:
        "results/logs/restore/{method}/{dataset}.log",
    benchmark:
        "results/benchmarks/restore/{method}/{dataset}.tsv"
    shell:
        "mperceiver restore {wildcards.method} {wildcards.dataset} --threads {threads} > {log} 2>&1"


# What restoring costs, on the machine that this job runs on.
rule measure:
    input:
        inputs(mperceiver.config.measure_inputs),
    output:
        card="results/costs/{method}.json",
    log:
        "results/logs/measure/{method}.log",
    benchmark:
        "results/benchmarks/measure/{method}.tsv"
    params:
        px=sizes_to_measure,
    shell:
        "mperceiver measure {wildcards.method} --threads {threads} > {log} 2>&1"
