rule table:
    input:
        inputs(mperceiver.config.table_inputs),
    output:
        card="results/tables/{table}.json",
        html=report(
            "results/tables/{table}.html",
            caption="../report/table.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
        csv="results/tables/{table}.csv",
        tex="results/tables/{table}.tex",
    log:
        "results/logs/table/{table}.log",
    benchmark:
        "results/benchmarks/table/{table}.tsv"
    shell:
        "mperceiver table {wildcards.table} > {log} 2>&1"


rule figure:
    input:
        inputs(mperceiver.config.figure_inputs),
    output:
        card="results/figures/{figure}.json",
        png=report(
            "results/figures/{figure}.png",
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        svg="results/figures/{figure}.svg",
    log:
        "results/logs/figure/{figure}.log",
    benchmark:
        "results/benchmarks/figure/{figure}.tsv"
    shell:
        "mperceiver figure {wildcards.figure} > {log} 2>&1"


rule report:
    input:
        inputs_of_report,
        experiment=mperceiver.config.files_of_inputs([mperceiver.config.experiment_part(EXPERIMENT_FILE)]),
    output:
        card=report(
            "results/report/{experiment}.json",
            caption="../report/site.rst",
            category="Site",
            labels={"site": "card"},
        ),
        site=directory("results/report/{experiment}"),
        metrics=directory("results/metrics/{experiment}"),
    log:
        "results/logs/report/{experiment}.log",
    benchmark:
        "results/benchmarks/report/{experiment}.tsv"
    shell:
        "mperceiver report {input.experiment[0]:q} > {log} 2>&1"
