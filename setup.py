"""The package `emorec`: what it holds, what it needs, its command."""

import pathlib

import setuptools

HERE = pathlib.Path(__file__).parent


def _version() -> str:
    for line in (HERE / "emorec" / "__init__.py").read_text().splitlines():
        if line.startswith("__version__"):
            return line.split('"')[1]
    raise RuntimeError("emorec/__init__.py names no __version__")


# The ranges that were tested, in this one place. requirements.lock has the
# exact versions. TFX (with Beam, TFMA, TFDV and keras-tuner) and `fer` are in
# the lock alone: pip refuses tfx 1.16.0
# on Python 3.11 by its metadata (it runs), and fer's own dependencies bring
# torch, while only the weight file that it carries is wanted.
TENSORFLOW = [
    "tensorflow>=2.16.2,<2.17",
    "keras>=3.15,<4",
    "tensorflow-io==0.37.1",
    "h5py>=3.11",
    "tqdm>=4.66",
    "jinja2>=3.1",
]
VIDEO = [
    "av>=14,<17",
    "mtcnn==1.0.0",
    # mtcnn reads its weights with joblib and lz4 and does not ask for lz4.
    "joblib>=1.4",
    "lz4>=4.3",
    "opencv-python-headless>=4.10,<5",
]
SERVING = [
    "tensorflow-serving-api>=2.16.1,<2.17",
    # The server's figures, its files, their checks.
    "prometheus-client>=0.20",
    "pyyaml>=6",
    "jinja2>=3.1",
]
ONNX = ["tf2onnx>=1.17,<2", "onnx==1.17.0", "onnxruntime>=1.18"]
# `emorec predict --onnx`, without TensorFlow.
ONNX_RUNTIME = [
    "onnxruntime>=1.18",
    "av>=14,<17",
    "opencv-python-headless>=4.10,<5",
    "jinja2>=3.1",
    "tqdm>=4.66",
]
# The charts of experiments and of the study of raters.
CHARTS = ["matplotlib>=3.10,<3.11"]
# Predictions as CSV and Parquet tables, and as data frames.
TABLES = ["pandas>=1.5,<3", "pyarrow>=10"]
# The web page of `emorec ui`.
UI = [
    "gradio>=6.31,<7",
    "pandas>=1.5,<3",
    "matplotlib>=3.10,<3.11",
]
# Label files that come as spreadsheets.
XLSX = ["openpyxl>=3.1,<4"]
# To compile the pipeline for Kubeflow and Vertex. Newer ones ask for another
# protobuf than TensorFlow 2.16.
KFP = ["kfp==2.13.0"]
# Apache Beam's own way to s3:// paths; TensorFlow's is tensorflow-io.
S3 = ["boto3>=1.40"]
SAMPLE = ["scikit-image>=0.25,<0.27"]
# JAX, on the CPU: that a weight file is one of every backend.
TEST = [
    "pytest>=9",
    "pytest-xdist>=3.8",
    "ruff>=0.17",
    "scikit-learn>=1.5",
    "scipy>=1.12",
    "jax==0.4.30",
    "jaxlib==0.4.30",
    "cryptography>=42",
    # The manifests of serving/deploy, against Kubernetes' own schemas.
    "kubernetes-validate>=1.31",
    # A local S3 server.
    "moto>=5.2",
    "flask>=3",
    "flask-cors>=5",
    "py-partiql-parser>=0.6",
    # Drives the browser that the page is tested in.
    "playwright>=1.65,<2",
    "nbconvert>=7",
    "ipykernel>=7",
]

# The site of `docs`.
DOCS = ["mkdocs-material>=9.8,<10", "mkdocstrings[python]>=1,<2"]

setuptools.setup(
    name="emorec",
    version=_version(),
    description=(
        "Emotion in video clips from the face and its surroundings: the "
        "CACA-RNN in Keras, TFX and TensorFlow Serving"
    ),
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.12",
    packages=setuptools.find_packages(
        include=["emorec*", "serving*", "tfx_pipeline*"]
    ),
    package_data={
        "emorec.evaluation": ["templates/*.html"],
        "emorec.ui": ["static/*"],
        "serving.configs": ["*.md"],
        "serving.deploy": ["templates/*.j2"],
        "tfx_pipeline": ["schema/*.pbtxt", "Dockerfile*"],
    },
    install_requires=[
        "absl-py>=1.4,<3",
        "numpy>=1.26,<2",
        "grpcio>=1.62",
        "protobuf>=4.25,<5",
    ],
    extras_require={
        "tf": TENSORFLOW,
        "video": VIDEO,
        "serving": SERVING,
        "onnx": ONNX,
        "onnx-runtime": ONNX_RUNTIME,
        "charts": CHARTS,
        "tables": TABLES,
        "ui": UI,
        "docs": DOCS,
        "xlsx": XLSX,
        "sample": SAMPLE,
        "kfp": KFP,
        "s3": S3,
        "test": TEST,
        "all": [
            *TENSORFLOW,
            *VIDEO,
            *SERVING,
            *ONNX,
            *CHARTS,
            *TABLES,
            *UI,
            *XLSX,
            *SAMPLE,
        ],
    },
    entry_points={"console_scripts": ["emorec=emorec.cli.main:main"]},
)
