-- One database for MLflow's runs, one for Optuna's studies: their tables have the same names.
CREATE DATABASE mlflow;
CREATE DATABASE optuna;
