rule score:
    input:
        inputs(mperceiver.config.score_inputs),
        pairs=ancient("data/prepared/{dataset}.arrow"),
        folder=ancient("results/restored/{method}/{dataset}"),
    output:
        card="results/scores/{method}/{dataset}.json",
        scores="results/scores/{method}/{dataset}.csv",
    log:
        "results/logs/score/{method}/{dataset}.log",
    benchmark:
        "results/benchmarks/score/{method}/{dataset}.tsv"
    shell:
        "mperceiver score {wildcards.method} {wildcards.dataset} --workers {threads} > {log} 2>&1"
